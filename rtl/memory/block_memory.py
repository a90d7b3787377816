"""Block memory whose row is undefined if it is read in the cycle in which it is written."""

from amaranth import Cat, Module, ShapeLike, Signal, Value
from amaranth.hdl import Shape
from amaranth.lib.memory import Memory


class BlockMemory(Memory):
    """``depth`` rows in block memory, at first undefined.

    If a row is read in the cycle in which any part of it is written, what is read is undefined.
    Memory blocks of an ECP5 do not say which row they return then: to read the old one, Yosys adds
    46 LUTs and 74 flip-flops to each 32 bits that are read, and the path from the memory becomes a
    LUT deeper. On UltraScale+ nothing changes.

    Parameters
    ----------
    shape : ShapeLike
        A row.
    depth : int
        Rows.
    """

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        super().__init__(shape=shape, depth=depth, init=[],
                         attrs={"ram_style": "block", "no_rw_check": 1})


class Collisions:
    """Platform of simulations on which a row that is read while it is written comes out inverted.

    On a part it can be anything, so no unit may use such a row. A simulation on this platform whose
    results are right has used none.
    """

    def get_memory(self, memory: Memory):
        """Return what a memory of a design is elaborated to."""
        if not isinstance(memory, BlockMemory):
            return memory.elaborate(None)
        m = Module()
        m.submodules.rows = rows = Memory(
            shape=memory.shape, depth=memory.depth, init=[], attrs=memory.attrs)
        width, written = Shape.cast(memory.shape).width, []
        for port in memory.write_ports:
            write = rows.write_port(granularity=port.signature.granularity)
            m.d.comb += [write.en.eq(port.en), write.addr.eq(port.addr),
                         Value.cast(write.data).eq(Value.cast(port.data))]
            written.append((port.en.any(), port.addr))
        for number, port in enumerate(memory.read_ports):
            read, collided = rows.read_port(), Signal(name=f"collided_{number}")
            m.d.comb += [read.en.eq(port.en), read.addr.eq(port.addr), Value.cast(port.data).eq(
                Value.cast(read.data) ^ collided.replicate(width))]
            with m.If(port.en):
                m.d.sync += collided.eq(Cat(
                    writes & (address == port.addr) for writes, address in written).any())
        return m
