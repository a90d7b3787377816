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
from deltamoe.boards.synthesis.parts import PARTS, RESOURCES
from deltamoe.boards.synthesis.units import UNITS
from deltamoe.experiments.reading import bundled
from deltamoe.experiments.study.spec import BUNDLED, read
from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.host.files import read_text, write
from deltamoe.lookup import weights
from deltamoe.make import waveforms
from deltamoe.rtl import program
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.registers import COUNTERS_OFFSET, REGISTERS
from deltamoe.rtl.label import Label
from deltamoe.rtl.record import units
from deltamoe.rtl.timing import Timing
from deltamoe.sim.report.losses import CAUSES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("rtl", "golden", "sim", "boards", "tests", "scripts")
DOCUMENTS = (ROOT / "README.md", *(ROOT / folder / "README.md" for folder in FOLDERS))

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
    return table(("field", "first bit", "bits", "of", "meaning"), (
        (f"`{field.name}`", field.offset, field.width, ", ".join(names), field.meaning)
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
    return table(("field", "value", "holds"), (
        (f"`{field.name}`", int(getattr(descriptor, field.name)), field.meaning)
        for field in program.layout(type(descriptor))))


def registers() -> str:
    """Return the registers."""
    rows = [(f"0x{register.offset:03x}", f"`{name}`", register.access, register.meaning)
            for name, register in REGISTERS.items()]
    return table(("offset", "register", "access", "meaning"), rows)


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
    """Return the cycles that units state as constants."""
    rows = []
    for name, unit in UNITS.items():
        stated = {key: value for kind in reversed(unit.__mro__)
                  if kind.__module__.startswith("deltamoe.") for key, value in vars(kind).items()}
        said = [f"`{key}` {value}" for key, value in stated.items()
                if key.isupper() and type(value) is int]
        for value in stated.values():
            if isinstance(value, Timing):
                said.append(f"`timing.latency` {value.latency}")
        if said:
            rows.append((f"`{name}`", f"`{path_of(unit)}`", ", ".join(said)))
    return table(("unit", "file", "constants"), rows)


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
                  "tokens, at most", "keeps sums", "clock it is for", "clock supported"), (
        (f"`{name}`", hw.mac_units, hw.groups, hw.lanes, f"{hw.word} elements",
         f"{hw.bus_bytes} bytes", f"{hw.weight_bytes // 1024} KiB", hw.max_tokens,
         "yes" if hw.temporal else "no", BOARDS[name].clock, BOARDS[name].supported)
        for name, hw in PRESETS.items()))


def parts() -> str:
    """Return the parts that are known."""
    return table(("target", "part", *RESOURCES, "one memory block", "placed and routed by"), (
        (f"`{name}`", part.name, *(f"{part.capacity[kind]:,}" for kind in RESOURCES), part.block,
         part.router or "nothing here") for name, part in PARTS.items()))


def losses() -> str:
    """Return the causes for which a multiplier makes no product."""
    return table(("cause", "meaning"), CAUSES.items())


def studies() -> str:
    """Return the studies that come along."""
    return table(("study", "question"), (
        (f"`{name}`", read(name).question) for name in bundled(BUNDLED)))


def fenced(draw: Callable[[], str]) -> Callable[[], str]:
    """Return what makes a diagram as a block of code."""
    return lambda: f"```text\n{draw()}\n```"


TABLES: dict[str, Callable[[], str]] = {
    "descriptors": descriptors, "enumerations": enumerations,
    "attention": attention, "registers": registers, "counters": counters, "timing": timing,
    "units": every_unit, "policies": policies, "models": models, "hardware": hardware,
    "parts": parts, "losses": losses, "studies": studies,
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
