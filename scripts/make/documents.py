"""Write the tables and timing diagrams of the documents: ``python -m deltamoe.make.documents``.

A document holds each between ``<!-- name -->`` and ``<!-- end -->``; the names are those of
:data:`TABLES`. ``tests/test_documents.py`` fails if one is not what the code says.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path

from deltamoe.boards import BOARDS, PRESETS
from deltamoe.boards.driver.bitstream import read_bitstream
from deltamoe.boards.packages import FORMATS
from deltamoe.boards.synthesis.parts import PARTS, RESOURCES
from deltamoe.experiments.reading import bundled
from deltamoe.experiments.study.spec import BUNDLED, read
from deltamoe.golden.config import MODELS
from deltamoe.golden.numerics import HIDDEN
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.host.files import read_text, write
from deltamoe.lookup import weights
from deltamoe.make import waveforms
from deltamoe.rtl import cycles, program
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import COUNTERS_OFFSET, REGISTERS, Access
from deltamoe.rtl.label import Label
from deltamoe.rtl.record import units
from deltamoe.rtl.timing import Depth, Timing
from deltamoe.rtl.writeback.activation_table import ActivationTable
from deltamoe.rtl.writeback.combine import Combine
from deltamoe.rtl.writeback.requantize import Requantize
from deltamoe.rtl.writeback.writeback import Writeback
from deltamoe.sim.report.losses import CAUSES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("rtl", "golden", "sim", "boards", "tests", "scripts")
DOCUMENTS = (ROOT / "README.md", *(ROOT / folder / "README.md" for folder in FOLDERS))

BITSTREAMS = ROOT / "boards/ulx3s/bitstreams"
"""Manifests of bitstreams that were built, each in a folder of its accelerator's name."""

RESULTS = ROOT / "scripts/README.md"
"""Where each measured figure is stated."""

CHOSEN = (
    "m3vit-tiny-129 on `zcu102`, one frame",
    "deit-tiny-197 on `zcu102`, one frame",
    "m3vit-tiny-129 on `ulx3s`, one frame, memory of 2 B/cycle",
    "digits on `nano`: bits and counters that differ",
    "digits, accuracy float / integer on 360 held-out images",
    "area of `zcu102`, ZU9EG",
    "energy of a frame of m3vit-tiny-129, 28 nm table with DDR4",
    "time and memory of simulating a frame of m3vit-tiny-129 on `zcu102`, process included",
)
"""Results that the first page shows."""

FILM = "`deltamoe video m3vit-tiny-129 --latency 100 --frames 5 --input generator:fixed --theta 4`"
"""The command of the first page's video."""

BLOCK = re.compile(r"^<!-- (?P<name>[\w-]+) -->\n(?P<made>.*?)^<!-- end -->$",
                   re.MULTILINE | re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(map(str, row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
                     for line in lines)


def descriptors() -> str:
    """Return the fields of descriptors: where they lie, which opcodes have them, what they mean."""
    opcodes: dict[program.Field, list[str]] = {}
    for kind in program.KINDS:
        for field in program.layout(kind):
            opcodes.setdefault(field, []).append(kind.opcode.name)
    return table(("field", "first bit", "bits", "of", "unit", "meaning"), (
        (f"`{field.name}`", field.offset, field.width, ", ".join(names), field.unit, field.meaning)
        for field, names in opcodes.items()))


def enumerations() -> str:
    """Return the values of the fields that have names."""
    kinds = [kind for _, kind in inspect.getmembers(program, inspect.isclass)
             if issubclass(kind, IntEnum) and kind.__module__ == program.__name__]
    return table(("enumeration", "values"), (
        (f"`{kind.__name__}`", ", ".join(f"{member.value} `{member.name}`" for member in kind))
        for kind in kinds))


def attention() -> str:
    """Return a descriptor of attention: that of the digits' first block on ``nano``."""
    compiled = compile_program(waveforms.digits(), PRESETS["nano"])
    descriptor = compiled.descriptors[compiled.labels.index(Label(Operator(Part.ATTENTION, 0)))]
    return table(("field", "value", "unit", "holds"), (
        (f"`{field.name}`", int(getattr(descriptor, field.name)), field.unit, field.meaning)
        for field in program.layout(type(descriptor))))


def registers() -> str:
    """Return the registers, each followed by its fields, if they have names."""
    rows = []
    for name, register in REGISTERS.items():
        fields = () if register.number else register.fields
        start = "constant" if register.constant else f"0x{register.reset:x}"
        bits = register.fields[0].bits if register.number else ""
        rows.append((f"0x{register.offset:03x}", f"`{name}`", bits, register.access,
                     "" if register.access is Access.WRITE else start, register.meaning))
        rows += [("", f"`{field.name}`", field.bits, "", "", field.meaning) for field in fields]
    return table(("offset", "register", "bits", "access", "at reset", "meaning"), rows)


def counters() -> str:
    """Return the performance counters with their offsets."""
    return table(("offset", "counter", "counts"), (
        (f"0x{COUNTERS_OFFSET + 8 * n:03x}", f"`{name}`", meaning)
        for n, (name, meaning) in enumerate(COUNTERS.items())))


def path_of(kind: type) -> str:
    """Return the file of a class."""
    return f"{kind.__module__.removeprefix('deltamoe.').replace('.', '/')}.py"


def every_unit() -> str:
    """Return all units: their files, their integer models, what they do."""
    return table(("unit", "file", "integer model", "does"), (
        (f"`{name}`", f"`{path_of(unit)}`",
         f"`golden/{unit.record.twin.replace('.', '/')}.py`" if unit.record.twin else "–",
         inspect.getdoc(unit).splitlines()[0].replace("``", "`"))
        for name, unit in units().items()))


def timing() -> str:
    """Return the cycles, and the depths, that units state as constants or for each preset."""
    rows = []
    for name, unit in units().items():
        stated = {key: value for kind in reversed(unit.__mro__)
                  if kind.__module__.startswith("deltamoe.") for key, value in vars(kind).items()}
        constants = {key: value for key, value in stated.items()
                     if key.isupper() and isinstance(value, int)}
        found = [f"`{key}` {value}" for key, value in constants.items()
                 if not isinstance(value, Depth)]
        found += [f"`timing.latency` {value.latency}" for value in stated.values()
                  if isinstance(value, Timing)]
        found += [f"`{key}` {' / '.join(str(getattr(unit, key)(hw)) for hw in PRESETS.values())}"
                  for key, value in vars(getattr(cycles, name, object)).items()
                  if isinstance(value, staticmethod | classmethod)
                  and value.__func__.__doc__.startswith("Cycles ")
                  and {*inspect.signature(getattr(unit, key)).parameters} == {"hw"}]
        depths = [f"`{key}` {value}" for key, value in constants.items()
                  if isinstance(value, Depth)]
        if found or depths:
            rows.append((f"`{name}`", f"`{path_of(unit)}`", ", ".join(found), ", ".join(depths)))
    return table(("unit", "file", f"cycles ({' / '.join(PRESETS)})", "depths"), rows)


def gelu() -> str:
    """Return the steps of a GELU with their cycles."""
    hidden = f"int{HIDDEN.bits}, in {HIDDEN.lowest}..{HIDDEN.highest}"
    steps = (
        ("requantize", Requantize, "arithmetic/requantize", f"sum of `acc_width` bits to {hidden}",
         Requantize.timing.latency),
        ("look up", ActivationTable, "arithmetic/gelu", f"int{HIDDEN.bits} to uint8",
         ActivationTable.timing.latency),
        ("combine passes it on", Combine, None, "unchanged", Combine.timing.latency),
        ("from the drain to the memory of activations", Writeback, None, "all of these",
         Writeback.LATENCY),
    )
    return table(("step", "circuit", "integer model", "bits in and out", "cycles"), (
        (step, f"`{path_of(unit)}`", f"`golden/{twin}.py`" if twin else "–", said, latency)
        for step, unit, twin, said, latency in steps))


def policies() -> str:
    """Return the sparsity policies of the literature."""
    return table(("policy", "family", "source", "by", "parameters"), (
        (f"`{name}`", mechanism.family, mechanism.source, mechanism.executes, ", ".join(
            f"`{key}` {parameter.default:g}" for key, parameter in mechanism.parameters.items()))
        for name, mechanism in MECHANISMS.items()))


def models() -> str:
    """Return the presets of networks."""
    return table(("network", "tokens", "width", "blocks", "heads", "experts", "of a token",
                  "tasks", "multiplications", "weights"), (
        (f"`{name}`", config.num_tokens, config.embed_dim, config.num_layers, config.num_heads,
         config.num_experts or "none", config.top_k or "none", config.num_tasks, f"{config.macs:,}",
         weights(name)) for name, config in MODELS.items()))


def hardware() -> str:
    """Return the presets of hardware."""
    return table(("preset", "multipliers", "lane groups", "lanes", "word", "bus", "weight memory",
                  "tokens, at most", "bits of a sum", "keeps sums"), (
        (f"`{name}`", hw.mac_units, hw.groups, hw.lanes, f"{hw.word} elements",
         f"{hw.bus_bytes} bytes", f"{hw.weight_bytes // 1024} KiB", hw.max_tokens, hw.acc_width,
         "yes" if hw.temporal else "no") for name, hw in PRESETS.items()))


def clocks() -> str:
    """Return the clocks of the boards, and what they rest on."""
    return table(("preset", "which", "clock", "rests on"), (
        (f"`{name}`", f"`{kind}`", clock, clock.evidence.because)
        for name, board in BOARDS.items()
        for kind, clock in (("clock", board.clock), ("supported", board.supported))))


def parts() -> str:
    """Return the parts that are known."""
    return table(("target", "part", *RESOURCES, "one memory block", "placed and routed by"), (
        (f"`{name}`", part.name, *(f"{part.capacity[kind]:,}" for kind in RESOURCES), part.block,
         part.router or "nothing here") for name, part in PARTS.items()))


def packages() -> str:
    """Return the formats of packages, and what is checked of each."""
    return table(("`--as`", "is", "of", "checked by the tests", "checked by no open tool"), (
        (f"`{name}`", form.holds, ", ".join(f"`{preset}`" for preset, board in BOARDS.items()
                                            if form.takes(board)), form.checked, form.unchecked)
        for name, form in FORMATS.items()))


def bitstreams() -> str:
    """Return the bitstreams that were built, by their manifests."""
    built = [read_bitstream(path.parent) for path in sorted(BITSTREAMS.glob("*/manifest.json"))]
    return table(("SoC with", "clock", "reached", "slack", "LUTs", "flip-flops", "multipliers",
                  "block RAMs", "seed", "geometry", "netlist"), (
        (f"`{one.soc.hardware.name}`", f"{one.soc.clock_mhz:g} MHz",
         f"{one.timing.fmax_mhz:.1f} MHz", f"{one.timing.slack_ns:.2f} ns",
         *(f"{cells.used:,} of {cells.available:,}" for cells in map(
             one.utilization.__getitem__,
             ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD"))),
         one.seed, f"`{one.soc.hardware.configuration:08x}`", f"`{one.netlist[:12]}`")
        for one in built))


def losses() -> str:
    """Return the causes for which a multiplier makes no product."""
    return table(("cause", "meaning"), CAUSES.items())


def studies() -> str:
    """Return the studies that come along."""
    return table(("study", "question"), (
        (f"`{name}`", read(name).question) for name in bundled(BUNDLED)))


def cells(heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading of the results, without its head."""
    below = read_text(RESULTS).partition(f"### {heading}\n")[2]
    lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    rows = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in (lines[0] if lines else "").splitlines()]
    if len(rows) < 3:
        raise ValueError(f"{RESULTS} has no table below {heading!r}")
    return rows[2:]


def figures() -> str:
    """Return the first page's choice of the results, which are stated once, in ``RESULTS``."""
    results, command = {}, ""
    for what, figure, _, said in cells("Single frames"):
        command = command if said == "the same" else said
        results[what] = (what, figure, command)
    study = dict(cells("Answers of studies"))
    video = {policy: fixed for _, policy, fixed, *_ in reversed(cells("Video"))}
    return table(("what", "figure", "command"), (
        *(results[what] for what in CHOSEN),
        ("2:4 weights, as a model: frames/s of m3vit-tiny-129 on `zcu102`",
         study["2:4 weights? `two-four`, model"], "`deltamoe compare two-four`"),
        ("a video with a fixed camera on `zcu102`: frames/s at 300 MHz (assumed), and energy",
         f"{video['`auto`, theta 4']} with policy `auto` and theta 4; {video['dense']} dense",
         FILM)))


def fenced(draw: Callable[[], str]) -> Callable[[], str]:
    """Return what makes a diagram as a block of code."""
    return lambda: f"```text\n{draw()}\n```"


TABLES: dict[str, Callable[[], str]] = {
    "descriptors": descriptors, "enumerations": enumerations,
    "attention": attention, "registers": registers, "counters": counters, "timing": timing,
    "gelu": gelu, "clocks": clocks, "figures": figures, "bitstreams": bitstreams,
    "units": every_unit, "policies": policies, "models": models, "hardware": hardware,
    "parts": parts, "packages": packages, "losses": losses, "studies": studies,
    **{f"{draw.__name__.replace('_', '-')}-diagram": fenced(draw) for draw in (
        waveforms.event_encoder, waveforms.requantize, waveforms.activation_table,
        waveforms.layer_norm, waveforms.registers)},
}
"""What makes each table, by the name between its markers."""


def rewritten(text: str) -> str:
    """Return a document with all of its tables made anew.

    Raises
    ------
    ValueError
        A marker has a name that none of :data:`TABLES` has, or no end.
    """
    opened = re.findall(r"^<!-- ([\w-]+) -->$", text, re.MULTILINE)
    for name in opened:
        if name != "end" and name not in TABLES:
            raise ValueError(f"marker {name!r} is not one of {', '.join(TABLES)}")
    if opened != [name for block in BLOCK.finditer(text) for name in (block["name"], "end")]:
        raise ValueError("each marker of a table must be followed by <!-- end -->")
    return BLOCK.sub(
        lambda block: f"<!-- {block['name']} -->\n{TABLES[block['name']]()}\n<!-- end -->", text)


if __name__ == "__main__":
    for document in DOCUMENTS:
        write(document, rewritten(read_text(document)))
