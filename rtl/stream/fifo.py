"""A queue whose word is readable in the cycle after it was written."""

from amaranth import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.record import Record


class Fifo(cycles.Fifo, wiring.Component):
    """Hold up to ``depth`` payloads in distributed memory.

    Members
    -------
    i, o : ``In(stream.Signature(shape))``, ``Out(stream.Signature(shape))``
        Payloads, in order.

    Timing
    ------
    One transfer a cycle on each side; one cycle of latency. ``i.ready`` and ``o.valid`` come from
    registers, and no sum or comparison depends on ``i.valid`` and ``o.ready``.
    """

    record = Record(moves="stores payloads")

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(
            shape=self.shape, depth=self.depth, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = words.write_port(), words.read_port(domain="comb")
        room, present, popped = Signal(init=1), Signal(), Signal()

        m.d.comb += [
            self.i.ready.eq(room), self.o.valid.eq(present),
            write.en.eq(self.i.valid & self.i.ready), popped.eq(self.o.valid & self.o.ready),
            write.data.eq(self.i.payload), self.o.payload.eq(read.data),
        ]
        after_write, after_read = (Mux(port.addr == self.depth - 1, 0, port.addr + 1)
                                   for port in (write, read))
        with m.If(write.en):
            m.d.sync += write.addr.eq(after_write)
        with m.If(popped):
            m.d.sync += read.addr.eq(after_read)
        with m.If(write.en & ~popped):
            m.d.sync += [room.eq(after_write != read.addr), present.eq(1)]
        with m.If(popped & ~write.en):
            m.d.sync += [room.eq(1), present.eq(after_read != write.addr)]

        return m
