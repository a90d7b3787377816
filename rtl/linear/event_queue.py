"""Words of events in, single events out.

The mask of the word at the head is consumed bit by bit, lowest first::

    i ──► memory ──► head ──► lowest set bit ──► o
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import event, event_word
from rtl.timing import Timing


class EventQueue(wiring.Component):
    """Hold words of events and hand out one event a cycle.

    A word with ``n`` events takes ``max(n, 1)`` cycles; the word of an item without any event
    gives one event with ``delta = 0``, so the item still completes. The fields of the event that
    steer the accumulators are left to the worker.

    Parameters
    ----------
    hw : HwConfig
        Geometry.
    depth : int
        Words held.

    Members
    -------
    i : ``In(stream.Signature(event_word(hw)))``
        Words in the order of their elements.
    o : ``Out(stream.Signature(event(hw)))``
        Events; ``last`` marks an item's final one.

    Timing
    ------
    An event leaves at the earliest in the cycle after its word came in.
    """

    i: stream.Interface
    o: stream.Interface
    timing = Timing(latency=1)

    def __init__(self, hw: HwConfig, depth: int) -> None:
        self.hw = hw
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(event_word(hw))),
            "o": Out(stream.Signature(event(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self.hw.word
        m.submodules.words = words = Memory(
            shape=event_word(self.hw), depth=self.depth, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = words.write_port(), words.read_port(domain="comb")
        level = Signal(range(self.depth + 1))
        consumed = Signal(lanes)
        remaining, lowest, index = Signal(lanes), Signal(lanes), Signal(range(lanes))
        final = Signal()

        m.d.comb += [
            write.data.eq(self.i.payload),
            self.i.ready.eq(level != self.depth),
            write.en.eq(self.i.valid & self.i.ready),
            remaining.eq(read.data.mask & ~consumed),
            lowest.eq(remaining & -remaining),
            final.eq((remaining ^ lowest) == 0),
            index.eq(Cat(
                (lowest & sum(1 << n for n in range(lanes) if n >> bit & 1)).any()
                for bit in range(len(index))
            )),
            self.o.valid.eq(level != 0),
            self.o.p.row.eq(read.data.row + index),
            self.o.p.kv.eq(read.data.kv),
            self.o.p.delta.eq(Mux(remaining.any(), read.data.delta[index], 0)),
            self.o.p.last.eq(read.data.last & final),
        ]
        popped = Signal()
        m.d.comb += popped.eq(self.o.valid & self.o.ready & final)
        with m.If(write.en):
            m.d.sync += write.addr.eq(Mux(write.addr == self.depth - 1, 0, write.addr + 1))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += consumed.eq(Mux(final, 0, consumed | lowest))
        with m.If(popped):
            m.d.sync += read.addr.eq(Mux(read.addr == self.depth - 1, 0, read.addr + 1))
        m.d.sync += level.eq(level + write.en - popped)

        return m
