"""A queue whose word is readable in the cycle after it was written."""

from amaranth import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Record


class Fifo(cycles.Fifo, wiring.Component):
    """Hold up to ``depth`` payloads in distributed memory, or in block memory if ``block``.

    Block memory answers in the cycle after the address. It gets the address that the next payload
    will have, and a payload that is written there in this cycle comes from a register instead::

        i ─┬─► memory ─►┐
           └─►│ ───────►┴─► o

    Members
    -------
    i, o : ``In(stream.Signature(shape))``, ``Out(stream.Signature(shape))``
        Payloads, in order.

    Timing
    ------
    One transfer a cycle on each side; one cycle of latency. ``i.ready`` and ``o.valid`` come from
    registers, and no sum or comparison depends on ``i.valid`` and ``o.ready``. Both memories are
    the same to the cycle.
    """

    record = Record(moves="stores payloads")

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike, depth: int, *, block: bool = False) -> None:
        self.shape = shape
        self.depth = depth
        self.block = block
        super().__init__({
            "i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = BlockMemory(self.shape, self.depth) if self.block else Memory(
            shape=self.shape, depth=self.depth, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = words.write_port(), words.read_port(domain="sync" if self.block else "comb")
        front = Signal.like(read.addr) if self.block else read.addr
        room, present, popped = Signal(init=1), Signal(), Signal()

        m.d.comb += [
            self.i.ready.eq(room), self.o.valid.eq(present),
            write.en.eq(self.i.valid & self.i.ready), popped.eq(self.o.valid & self.o.ready),
            write.data.eq(self.i.payload),
        ]
        after_write, after_read = (Mux(address == self.depth - 1, 0, address + 1)
                                   for address in (write.addr, front))
        if self.block:
            newest, bypass = Signal.like(write.data, reset_less=True), Signal()
            m.d.comb += [read.addr.eq(Mux(popped, after_read, front)),
                         self.o.payload.eq(Mux(bypass, newest, read.data))]
            m.d.sync += [newest.eq(write.data),
                         bypass.eq(write.en & Mux(popped, write.addr == after_read, ~present))]
        else:
            m.d.comb += self.o.payload.eq(read.data)
        with m.If(write.en):
            m.d.sync += write.addr.eq(after_write)
        with m.If(popped):
            m.d.sync += front.eq(after_read)
        with m.If(write.en & ~popped):
            m.d.sync += [room.eq(after_write != front), present.eq(1)]
        with m.If(popped & ~write.en):
            m.d.sync += [room.eq(1), present.eq(after_read != write.addr)]

        return m
