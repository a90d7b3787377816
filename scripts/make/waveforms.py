"""Timing diagrams as text: a unit runs in Amaranth's simulator, and its ports are drawn.

A port of one bit is a bar, high or low; any other port shows its value while it is valid. One
column is one cycle; several alike, one behind the other, are drawn as one with their range.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from amaranth.lib import wiring
from amaranth.sim import Simulator

from deltamoe.boards import PRESETS
from deltamoe.golden import library
from deltamoe.golden.numerics import ACTIVATION
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.rtl import formats
from deltamoe.rtl.control.register_map import REGISTERS
from deltamoe.rtl.control.registers import Registers
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.norm.layer_norm import LayerNorm
from deltamoe.rtl.program import Dest
from deltamoe.rtl.writeback.activation_table import ActivationTable
from deltamoe.rtl.writeback.requantize import Requantize

HW = PRESETS["nano"]
IDLE = 3
"""More cycles than these that are alike are drawn as one column."""

Ports = Mapping[str, object]
Shown = Callable[[object], str]


@dataclass(frozen=True)
class Row:
    """One line: what it is called, its port, when it is valid, and how its value is written.

    A port of one bit without ``valid`` is drawn as a bar.
    """

    name: str
    port: Callable[[wiring.Component], object]
    valid: Callable[[wiring.Component], object] | None = None
    shown: Shown = str


def record(unit: wiring.Component, rows: Sequence[Row], *, setup: Sequence[Ports] = (),
           inputs: Sequence[Ports] = (), payloads: Mapping[str, Sequence[object]] | None = None,
           cycles: int) -> list[list[str | bool]]:
    """Run a unit and return the cells of each row, cycle by cycle.

    Parameters
    ----------
    unit : Component
        What runs, from its reset on.
    rows : sequence of Row
        What is drawn.
    setup : sequence of mapping
        Values of ports, by name, in the cycles before the first that is drawn.
    inputs : sequence of mapping
        Values of ports in the cycles that are drawn; a port keeps its value.
    payloads : mapping
        Payloads that go into a stream, by its name, as fast as it takes them.
    cycles : int
        How many are drawn.
    """
    cells_by_row: list[list[str | bool]] = [[] for _ in rows]
    waiting = {name: list(words) for name, words in (payloads or {}).items()}

    async def bench(ctx):
        def drive(values: Ports) -> None:
            for name, value in values.items():
                port = unit
                for part in name.split("."):
                    port = getattr(port, part)
                ctx.set(port, value)

        for values in setup:
            drive(values)
            await ctx.tick()
        for cycle in range(cycles):
            drive(inputs[cycle] if cycle < len(inputs) else {})
            for name, words in waiting.items():
                stream = getattr(unit, name)
                ctx.set(stream.valid, bool(words))
                if words:
                    ctx.set(stream.payload, words[0])
            for cells, row in zip(cells_by_row, rows, strict=True):
                value = ctx.get(row.port(unit))
                if row.valid is not None:
                    cells.append(row.shown(value) if ctx.get(row.valid(unit)) else "")
                else:
                    cells.append(bool(value))
            for name, words in waiting.items():
                if words and ctx.get(getattr(unit, name).ready):
                    words.pop(0)
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cells_by_row


def draw(rows: Sequence[Row], cells_by_row: Sequence[Sequence[str | bool]]) -> str:
    """Return the diagram."""
    columns = list(zip(*cells_by_row, strict=True))
    spans = []
    for _, group in groupby(range(len(columns)), lambda n: columns[n]):
        alike = list(group)
        spans += [(alike[0], alike[-1])] if len(alike) > IDLE else [(n, n) for n in alike]
    labels = [f"{first}" if first == last else f"{first}-{last}" for first, last in spans]
    width = 1 + max(len(str(cell)) for cell in (*labels, *(
        columns[first][row] for first, _ in spans for row in range(len(rows))
        if isinstance(columns[first][row], str))))
    margin = 1 + max(len(row.name) for row in rows)
    lines = ["cycle".ljust(margin) + "".join(f" {label:<{width}}" for label in labels)]
    for number, row in enumerate(rows):
        cells = [columns[first][number] for first, _ in spans]
        lines.append(row.name.ljust(margin) + "".join(
            f" {cell:<{width}}" if isinstance(cell, str) else (" " + ("█" if cell else "▁") * width)
            for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def diagram(unit: wiring.Component, rows: Sequence[Row], **options) -> str:
    """Return the diagram of a run; options as of :func:`record`."""
    return draw(rows, record(unit, rows, **options))


def stream(name: str, **fields: tuple[Callable, Shown]) -> list[Row]:
    """Return the rows of a stream: ``valid``, ``ready``, and parts of its payload."""
    def port(part: str) -> Callable[[wiring.Component], object]:
        return lambda unit: getattr(getattr(unit, name), part)

    return [Row(f"{name}.valid", port("valid")), Row(f"{name}.ready", port("ready")), *(
        Row(f"{name}: {label}", lambda unit, of=of: of(getattr(unit, name).p), port("valid"), shown)
        for label, (of, shown) in fields.items())]


def listed(values: object) -> str:
    """Write the elements of a word."""
    return " ".join(str(value) for value in values)


def event_encoder() -> str:
    """Draw four words of operands of an item, with zero-skipping."""
    words = ([5, 0, 0, -3], [0, 0, 0, 0], [0, 7, 0, 0], [0, 0, 0, 0])
    payloads = [{"operand": word, "complement": [-1] * HW.word,
                 "count": HW.word, "operand_signed": 1, "last": n == len(words) - 1}
                for n, word in enumerate(words)]
    unit = EventEncoder(HW)
    layout = unit.i.payload.shape()
    payloads = [{name: value for name, value in payload.items() if name in layout.members}
                for payload in payloads]
    rows = [*stream("i", operand=(lambda p: p.operand, listed)),
            *stream("o", delta=(lambda p: p.word.delta, listed),
                    mask=(lambda p: p.word.mask, lambda mask: f"{mask:04b}"[::-1])),
            Row("o: last", lambda unit: unit.o.p.word.last)]
    return diagram(unit, rows, payloads={"i": payloads}, cycles=7)


def requantize() -> str:
    """Draw three words, one behind the other."""
    payloads = [{"acc": [acc] * HW.word, "bias": [100] * HW.word,
                 "multiplier": [1 << 13] * HW.word, "shift": 0,
                 "width": formats.RESULTS.index(ACTIVATION), "tag": {"dest": Dest.ACT}}
                for acc in (61, 62, 9_999)]
    rows = [*stream("i", acc=(lambda p: p.acc[0], str)), *stream("o", data=(
        lambda p: p.data[0], str))]
    return diagram(Requantize(HW), rows, payloads={"i": payloads}, cycles=8)


@cache
def digits() -> QuantizedModel:
    """Return the committed integer network of the digits."""
    return QuantizedModel.load(library.WEIGHTS / "digits.quantized.safetensors")


def activation_table() -> str:
    """Draw a GELU: the table of the first block of the committed network."""
    table = digits()["blocks.0.gelu"].tolist()
    setup = [{"write.en": 1, "write.address": n, "write.data": code}
             for n, code in enumerate(table)]
    payloads = [{"data": [q] * HW.word, "tag": {"dest": Dest.HIDDEN}}
                for q in (-512, -20, 0, 20, 511)]
    rows = [*stream("i", q=(lambda p: p.data[0], str)), *stream("o", u=(lambda p: p.data[0], str))]
    return diagram(ActivationTable(HW), rows, setup=setup, payloads={"i": payloads}, cycles=7,
                   inputs=[{"write.en": 0}])


def layer_norm() -> str:
    """Draw two rows of two words."""
    dim = 2 * HW.word
    setup = [{"parameters.en": 1, "parameters.address": n, "parameters.data": [
        {"bias": 0, "multiplier": 1 << 12}] * HW.word} for n in range(2)]
    payloads = [{"data": [value + n for n in range(HW.word)], "last": half}
                for value, half in ((10, 0), (20, 1), (-500, 0), (-400, 1))]
    rows = [*stream("i", first=(lambda p: p.data[0], str)),
            Row("i: last", lambda unit: unit.i.p.last),
            *stream("o", first=(lambda p: p.data[0], str)),
            Row("o: last", lambda unit: unit.o.p.last)]
    return diagram(LayerNorm(HW), rows, setup=setup, payloads={"i": payloads}, cycles=40, inputs=[
        {"parameters.en": 0, "settings.dim": dim, "settings.epsilon": 1, "settings.gain_shift": 7,
         "o.ready": 1}])


def registers() -> str:
    """Draw a start by a write, and a read of the identity."""
    def bits(*names: str) -> list[Row]:
        return [Row(name, lambda unit, name=name: getattr(unit.axi, name)) for name in names]

    def value(name: str, valid: str) -> Row:
        return Row(name, lambda unit: getattr(unit.axi, name),
                   lambda unit: getattr(unit.axi, valid), hex)

    inputs = [
        {"axi.awvalid": 1, "axi.awaddr": REGISTERS["control"].offset, "axi.wvalid": 1,
         "axi.wdata": 1, "axi.wstrb": 15, "axi.bready": 1, "axi.rready": 1},
        {"axi.awvalid": 0, "axi.wvalid": 0, "axi.arvalid": 1,
         "axi.araddr": REGISTERS["magic"].offset},
        {"axi.arvalid": 0}]
    rows = [*bits("awvalid", "awready"), value("awaddr", "awvalid"), *bits("wvalid", "wready"),
            value("wdata", "wvalid"), *bits("bvalid"),
            Row("start", lambda unit: unit.commands.start),
            *bits("arvalid", "arready"), value("araddr", "arvalid"), *bits("rvalid"),
            value("rdata", "rvalid")]
    return diagram(Registers(HW), rows, inputs=inputs, cycles=5)
