"""Words of events in, single events out.

The mask of the word at the head is cleared bit by bit, lowest first; which bit follows is found
while the event before leaves::

    i ──► memory ──► lowest set bit ──►│ head, index ──► o
                     others ◄──────────│
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import event, event_word
from deltamoe.rtl.record import Record
from deltamoe.rtl.stream.fifo import Fifo


def lowest(mask):
    """Return the index of the lowest bit set, 0 if there is none, by halves."""
    if len(mask) == 1:
        return Const(0, 0)
    low, high = mask[: len(mask) // 2], mask[len(mask) // 2 :]
    return Cat(Mux(low.any(), lowest(low), lowest(high)), ~low.any() & high.any())


def several(mask):
    """Return whether more than one bit is set, by halves."""
    if len(mask) == 1:
        return Const(0, 1)
    low, high = mask[: len(mask) // 2], mask[len(mask) // 2 :]
    return several(low) | several(high) | (low.any() & high.any())


class EventQueue(cycles.EventQueue, wiring.Component):
    """Hold words of events and hand out one event a cycle.

    A word with ``n`` events takes ``max(n, 1)`` cycles; the word of an item without any event
    gives one event with ``delta = 0``, so the item still completes. The fields of the event that
    steer the accumulators are left to the worker.

    Parameters
    ----------
    hw : HwConfig
        Geometry.
    depth : int
        Words held, the head included.

    Members
    -------
    i : ``In(stream.Signature(event_word(hw)))``
        Words in the order of their elements.
    o : ``Out(stream.Signature(event(hw)))``
        Events; ``last`` marks an item's final one.

    Timing
    ------
    An event leaves at the earliest two cycles after its word came in: the head, and which of its
    events is next, are registers, so an event does not wait for the memory.
    """

    record = Record(moves="stores events")

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig, depth: int) -> None:
        self.hw = hw
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(event_word(hw))),
            "o": Out(stream.Signature(event(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        lanes, shape = self.hw.word, event_word(self.hw)
        advances = Signal()
        stored, word = (self.block if self.hw.block_queues else self.ring)(m, advances)
        head, present = Signal(shape, reset_less=True), self.o.valid
        mask, below = Signal(lanes), Signal(lanes)
        index, final, taken = Signal(range(lanes)), Signal(), Signal()

        m.d.comb += [
            mask.eq(Mux(final | ~present, word.mask, head.mask)),
            below.eq(Cat(mask[:n].any() for n in range(lanes))),
            self.o.p.row.eq(head.row + index),
            self.o.p.kv.eq(head.kv),
            self.o.p.delta.eq(Mux(head.empty, 0, head.delta[index])),
            self.o.p.last.eq(head.last & final),
            taken.eq(self.o.valid & self.o.ready),
            advances.eq(~present | (taken & final)),
        ]
        with m.If(advances):
            m.d.sync += [head.eq(word), present.eq(stored)]
        with m.If(taken | ~present):
            m.d.sync += [
                head.mask.eq(mask & below), final.eq(~several(mask)),
                index.eq(lowest(mask)),
            ]

        return m

    def block(self, m: Module, advances):
        """Store words in block memory; return whether there is one, and the oldest."""
        m.submodules.words = words = Fifo(event_word(self.hw), self.depth - 1, block=True)
        wiring.connect(m, wiring.flipped(self.i), words.i)
        m.d.comb += words.o.ready.eq(advances)
        return words.o.valid, words.o.payload

    def ring(self, m: Module, advances):
        """Store words in distributed memory; return whether there is one, and the oldest."""
        m.submodules.words = words = Memory(
            shape=event_word(self.hw), depth=self.depth, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = words.write_port(), words.read_port(domain="comb")
        following, stored = Signal.like(write.addr), Signal()
        m.d.comb += [
            following.eq(self.after(write.addr)), write.data.eq(self.i.payload),
            self.i.ready.eq(following != read.addr),
            write.en.eq(self.i.valid & self.i.ready),
            stored.eq(write.addr != read.addr),
        ]
        with m.If(write.en):
            m.d.sync += write.addr.eq(following)
        with m.If(advances), m.If(stored):
            m.d.sync += read.addr.eq(self.after(read.addr))
        return stored, read.data

    def after(self, address):
        """Return the address that follows in the ring, which always has a free word."""
        return Mux(address == self.depth - 1, 0, address + 1)
