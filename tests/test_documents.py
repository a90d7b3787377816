"""The documents say what the code says, and lead somewhere."""

import importlib.util
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import deltamoe
from deltamoe.boards import BOARDS, PRESETS
from deltamoe.cli import COMMANDS
from deltamoe.golden.config import MODELS
from deltamoe.golden.library import default_image, find
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.record import record
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.host.files import read_text
from deltamoe.make import waveforms
from deltamoe.make.documents import DOCUMENTS, FOLDERS, ROOT, TABLES, cells, rewritten
from deltamoe.rtl import cycles, program
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.norm.layer_norm import LayerNorm
from deltamoe.rtl.program import KINDS, Attention, Descriptor, Store, layout, pack
from deltamoe.rtl.writeback.activation_table import ActivationTable
from deltamoe.rtl.writeback.requantize import Requantize
from deltamoe.sim.outline import Outline
from tests.system.networks import make
from tests.system.test_tiles import CASES, HARDWARE, made

LINES = 150
"""Most lines of the first page."""

MARKED = re.compile(r"<!-- (?!end)([\w-]+) -->")
EACH = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])


def code(text: str) -> Iterator[str]:
    """Words in backquotes, and in blocks of code."""
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        yield from block.split()
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        yield from span.split()


def anchors(text: str) -> set[str]:
    """Names by which the headings of a document can be linked to."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL),
                          re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@EACH
def test_tables_are_those_of_the_code(document: Path) -> None:
    """Else: python -m deltamoe.make.documents."""
    text = read_text(document)
    assert text == rewritten(text)


def test_every_table_is_shown() -> None:
    shown = [name for path in DOCUMENTS for name in MARKED.findall(read_text(path))]
    assert sorted(shown) == sorted(TABLES)


@pytest.mark.parametrize(("text", "said"), [
    ("<!-- nothing -->\n<!-- end -->\n", "marker 'nothing' is not one of descriptors, "),
    ("<!-- losses -->\n", "must be followed by <!-- end -->"),
    ("<!-- losses -->\n<!-- counters -->\n<!-- end -->\n", "must be followed by <!-- end -->"),
])
def test_a_wrong_marker_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        rewritten(text)


@EACH
def test_paths_exist(document: Path) -> None:
    """Those that begin with a folder of the repository."""
    words = {word.strip(".,;:()") for word in code(read_text(document))}
    paths = {word for word in words if word.partition("/")[0] in FOLDERS and "/" in word}
    assert paths, "no path at all is found"
    assert not sorted(path for path in paths if not (ROOT / path).exists())


@EACH
def test_modules_exist(document: Path) -> None:
    words = set(re.findall(r"\bdeltamoe(?:\.[a-z_]+)+", " ".join(code(read_text(document)))))
    modules = {word for word in words if word.split(".")[1] in {*FOLDERS, "host", "make"}}
    assert not sorted(name for name in modules if importlib.util.find_spec(name) is None)


@EACH
def test_links_lead_somewhere(document: Path) -> None:
    text = read_text(document)
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", text)
    assert links
    for link in map("".join, links):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(read_text(target)), link


def test_the_first_page_is_short() -> None:
    assert len(read_text(DOCUMENTS[0]).splitlines()) <= LINES


def test_bits_of_a_descriptor_are_where_the_table_says() -> None:
    """Of every opcode, each field once."""
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| ([A-Z, ]+) \| \S.* \| \S.* \|$",
                      TABLES["descriptors"](), re.MULTILINE)
    for kind in KINDS:
        told = [(name, int(first), int(bits)) for name, first, bits, opcodes in rows
                if kind.opcode.name in opcodes.split(", ")]
        assert sorted(told) == sorted(field[:3] for field in layout(kind))
        for name, first, bits in told[1:]:
            largest = (1 << bits) - 1
            assert int.from_bytes(pack(kind(**{name: largest})), "little") == (
                kind.opcode | largest << first)


FIRST = {(Attention, "source_base"), (Attention, "key_base"), (Store, "wait_computes")}
"""Fields that are zero in all programs: queries and keys come first, a store needs no count."""


def nonzero(program: Program) -> set[tuple[type[Descriptor], str]]:
    """Fields of a program's descriptors that some descriptor sets."""
    return {(type(descriptor), name) for descriptor in program.descriptors
            for name, value in vars(descriptor).items() if value}


def test_programs_use_every_field() -> None:
    """One that no program sets would be no part of the language."""
    nano, used = PRESETS["nano"], set()
    small = replace(nano, name="small", state_words=320, reference_words=320)
    beside = replace(nano, name="beside", last_key=True)
    for model, hw, policy, theta in (
            ("digits", nano, "dense", 0), ("digits", nano, "delta", 1),
            ("digits", small, "delta", 1), ("digits", nano, "token-gate", 0),
            ("digits", beside, "dense", 0),
            ("m3vit-tiny-129", PRESETS["zcu102"], "zero-skip", 0),
            ("m3vit-tiny-129", PRESETS["ulx3s"], "dense", 0)):
        config = MODELS[model]
        network = waveforms.digits() if model == "digits" else Outline(config)
        plan = named(policy, config, hw, theta=theta)
        used |= nonzero(compile_program(network, hw, 0, plan, frames=2))
    for hardware, config in CASES:
        used |= nonzero(compile_program(made(config, 0)[0], HARDWARE[hardware]))
    for seed in range(4):
        used |= nonzero(compile_program(make(seed, nano, "free")[0], nano))
    assert {(kind, field.name) for kind in KINDS for field in layout(kind)[1:]} - used == FIRST


def test_enumerations_are_all_there() -> None:
    table = TABLES["enumerations"]()
    for kind in (program.Opcode, program.Target, program.Source, program.Dest, program.Mode,
                 program.ErrorCode):
        assert f"| `{kind.__name__}` |" in table


def bar(diagram: str, name: str) -> list[bool]:
    """Return when a bit is high, column by column."""
    line = next(line for line in diagram.splitlines() if line.startswith(name))
    return [cell[0] == "█" for cell in line.removeprefix(name).split()]


@pytest.mark.parametrize(("draw", "latency"), [
    (waveforms.event_encoder, EventEncoder.timing.latency),
    (waveforms.requantize, Requantize.timing.latency),
    (waveforms.activation_table, ActivationTable.timing.latency)])
def test_diagrams_show_the_latency_that_the_unit_states(draw, latency: int) -> None:
    diagram = draw()
    assert bar(diagram, "o.valid").index(True) - bar(diagram, "i.valid").index(True) == latency


def test_the_diagram_of_layer_norm_shows_its_latency_and_interval() -> None:
    """Two words a row: the last of the first row comes in cycle 1."""
    diagram = waveforms.layer_norm()
    labels = diagram.splitlines()[0].removeprefix("cycle").split()
    left = [int(label) for label, valid in zip(labels, bar(diagram, "o.valid"), strict=True)
            if valid]
    first, second = 1 + LayerNorm.latency(waveforms.HW), max(2 * 2, LayerNorm.SCALAR + 1)
    assert left == [first, first + 2, first + second, first + second + 2]


def test_the_policy_of_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a share of 1 of the largest is nothing; above 0 is what zero-skipping sends."""
    example = re.search(r"```python\n(.*?)```", read_text(ROOT / "golden/README.md"), re.DOTALL)
    monkeypatch.setitem(MECHANISMS, "near-largest", None)
    exec(example[1], {})
    network = find("digits")
    seen = record(network, [default_image(network.quantized.config)])
    policy = MECHANISMS["near-largest"]
    nothing, nonzero, dense, skipping = (
        mechanism.frames(seen, **mechanism.given(values))[0] for mechanism, values in (
            (policy, {"share": 1}), (policy, {"share": 0}), (MECHANISMS["dense"], {}),
            (MECHANISMS["zero-skip"], {})))
    second = {product for product in dense.works if product.part == Part.FC2}
    assert sum(dense.works[product].macs for product in second) > 0
    assert not any(work.macs for product, work in nothing.works.items()
                   if product.part == Part.FC2)
    first = Operator(Part.FC1, 0)
    assert nothing.works[first].macs == dense.works[first].macs
    for product in second:
        assert nonzero.works[product].macs == skipping.works[product].macs


def test_cycles_of_every_unit_are_told() -> None:
    """Those of :mod:`deltamoe.rtl.cycles`, which the units inherit."""
    rows = re.findall(r"^\| `(\w+)` \| `[^`]+` \| (.*) \| (.*) \|$", TABLES["timing"](),
                      re.MULTILINE)
    told = {unit: times for unit, times, _ in rows}
    stated = {unit for unit, kind in vars(cycles).items()
              if inspect.isclass(kind) and kind.__module__ == cycles.__name__}
    assert len(stated) > 30
    assert stated <= told.keys()
    assert f"`SCALAR` {cycles.LayerNorm.SCALAR}" in told["LayerNorm"]
    latencies = (cycles.LayerNorm.latency(hw) for hw in PRESETS.values())
    assert f"`latency` {' / '.join(map(str, latencies))}" in told["LayerNorm"]


def test_depths_are_told_apart_from_cycles() -> None:
    """What has room for something is no time."""
    found = re.search(r"^\| `StoreReader` \| `[^`]+` \| (.*) \| (.*) \|$", TABLES["timing"](),
                      re.MULTILINE)
    assert found
    times, depths = found.groups()
    assert f"`LATENCY` {cycles.StoreReader.LATENCY}" in times
    assert "DEPTH" not in times
    assert f"`DEPTH` {cycles.StoreReader.DEPTH}" in depths


def test_cycles_of_a_gelu_add_up() -> None:
    """The last row is the way of all steps before it."""
    rows = re.findall(r"^\| .* \| (\d+) \|$", TABLES["gelu"](), re.MULTILINE)
    *steps, whole = map(int, rows)
    assert len(steps) == 3
    assert whole == sum(steps)


def test_the_number_of_policies_is_told() -> None:
    """All but dense computation, which leaves nothing out."""
    told = re.search(r"(\d+) methods of the literature", read_text(ROOT / "README.md"))
    assert told
    assert int(told[1]) == len(MECHANISMS.keys() - {"dense"})


def test_frames_per_second_follow_from_cycles_and_clocks() -> None:
    """Of each frame in the results whose speed is told: at a clock of its board, by its cycles."""
    checked = 0
    for what, figure, *_ in cells("Single frames"):
        board = re.search(r" on `(\w+)`", what)
        rates = re.findall(r"([\d.]+)(?: frames/s)? at ([\d.]+) MHz \((\w+)\)", figure)
        if not rates:
            continue
        cycle_count = int(re.search(r"([\d,]+)(?: and [\d,]+)? cycles", figure)[1].replace(",", ""))
        known = BOARDS[board[1]].clock, BOARDS[board[1]].supported
        for rate, mhz, kind in rates:
            rounded, clocked = (len(number.partition(".")[2]) for number in (rate, mhz))
            assert (rate, mhz, kind) in {
                (f"{clock.frames_per_s(cycle_count):.{rounded}f}", f"{clock.mhz:.{clocked}f}",
                 clock.evidence.KIND) for clock in known}, what
            checked += 1
    assert checked


def test_a_heading_without_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="has no table below 'Nowhere'"):
        cells("Nowhere")


@EACH
def test_examples_name_what_there_is(document: Path) -> None:
    """What ``import deltamoe`` offers, and commands."""
    text = read_text(document)
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert set(re.findall(r"\bdeltamoe\.([a-z_A-Z]+)\(", block)) <= set(deltamoe.__all__)
    named = set(re.findall(r"(?:^|`)deltamoe ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= COMMANDS.keys()
