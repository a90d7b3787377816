"""A memory whose one half can be loaded while the other is in use."""

from amaranth import Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.hdl import Assert, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import lower_half
from deltamoe.rtl.interfaces import Read, Write
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Ram, Record


def in_upper(address: Value, depth: int) -> Value:
    """Whether a row of a memory of ``depth`` rows is in the upper half.

    The lower half is of few whole block RAMs if there are two, so a few bits of the address tell,
    without a carry.
    """
    lower = lower_half(depth)
    zeros = (lower & -lower).bit_length() - 1
    blocks = address[zeros : (depth - 1).bit_length()]
    if len(blocks) > 4:
        return address >= lower
    return Cat(blocks == block for block in range(lower >> zeros, 1 << len(blocks))).any()


class Halves(wiring.Component):
    """``depth`` rows behind one address, in two block memories of one write and one read port.

    Parameters
    ----------
    shape : ShapeLike
        A row.
    depth : int
        Rows; the first ``lower_half(depth)`` are the lower half.
    parts : int
        Parts of a row that are written apart.

    Members
    -------
    write, load : ``In(Write(depth, shape, parts=parts))``
        Never the same half in the same cycle.
    read : ``In(Read(depth, shape))``
        Rows.
    halves, upper : ``Out(shape).array(2)``, ``Out(1)``
        What the row that is read is chosen from.

    Timing
    ------
    A row written in cycle ``t`` can be read from cycle ``t + 1`` on.
    """

    record = Record(moves="stores rows")

    def __init__(self, shape: ShapeLike, depth: int, parts: int = 1) -> None:
        self.shape, self.depth, self.parts = shape, depth, parts
        write = Write(depth, shape, parts=parts)
        super().__init__({
            "write": In(write), "load": In(write), "read": In(Read(depth, shape)),
            "halves": Out(shape).array(2), "upper": Out(1),
        })

    @staticmethod
    def rams(shape: ShapeLike, depth: int, parts: int = 1) -> tuple[Ram, Ram]:
        """Both memories of one that is made with these arguments."""
        lower = lower_half(depth)
        return Ram(shape, lower, parts=parts), Ram(shape, depth - lower, parts=parts)

    def elaborate(self, platform):
        m = Module()
        lower = lower_half(self.depth)
        bits = Shape.cast(self.shape).width
        written, loaded = (in_upper(port.address, self.depth) for port in (self.write, self.load))

        m.d.sync += self.upper.eq(in_upper(self.read.address, self.depth))
        for number, depth in enumerate((lower, self.depth - lower)):
            m.submodules[f"half_{number}"] = half = BlockMemory(bits, depth)
            port, read = half.write_port(granularity=bits // self.parts), half.read_port()
            writes = Signal(name=f"writes_{number}")
            m.d.comb += [
                writes.eq(self.write.en.any() & (written == number)),
                port.en.eq(Mux(writes, self.write.en, Mux(loaded == number, self.load.en, 0))),
                port.addr.eq(Mux(writes, self.write.address, self.load.address) - lower * number),
                port.data.eq(Mux(writes, Value.cast(self.write.data), Value.cast(self.load.data))),
                read.addr.eq(self.read.address - lower * number), self.halves[number].eq(read.data),
            ]
        m.d.comb += self.read.data.eq(Mux(self.upper, self.halves[1], self.halves[0]))
        m.d.sync += Assert(~(self.write.en.any() & self.load.en.any() & (written == loaded)),
                           "one half is written and loaded")

        return m
