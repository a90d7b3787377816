"""Words of events in, single events out.

The mask of the word at the head is cleared bit by bit, lowest first::

    i ──► memory ──►│ head ──► lowest set bit ──► o
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import event, event_word
from deltamoe.rtl.record import Record


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
    An event leaves at the earliest two cycles after its word came in: the head is a register, so
    what an event leaves of its word does not wait for the memory.
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
        lanes = self.hw.word
        m.submodules.words = words = Memory(
            shape=event_word(self.hw), depth=self.depth, init=[], attrs={"ram_style": "distributed"}
        )
        write, read = words.write_port(), words.read_port(domain="comb")
        head = Signal(event_word(self.hw), reset_less=True)
        held, following = Signal(), Signal.like(write.addr)
        lowest, left, index = Signal(lanes), Signal(lanes), Signal(range(lanes))
        taken, final, fetched = Signal(), Signal(), Signal()

        m.d.comb += [
            following.eq(self.after(write.addr)), write.data.eq(self.i.payload),
            self.i.ready.eq(following != read.addr),
            write.en.eq(self.i.valid & self.i.ready),
            lowest.eq(head.mask & -head.mask),
            left.eq(head.mask & ~lowest),
            final.eq(left == 0),
            index.eq(Cat(
                (lowest & sum(1 << n for n in range(lanes) if n >> bit & 1)).any()
                for bit in range(len(index))
            )),
            self.o.valid.eq(held),
            self.o.p.row.eq(head.row + index),
            self.o.p.kv.eq(head.kv),
            self.o.p.delta.eq(Mux(head.empty, 0, head.delta[index])),
            self.o.p.last.eq(head.last & final),
            taken.eq(self.o.valid & self.o.ready),
            fetched.eq((write.addr != read.addr) & (~held | (taken & final))),
        ]
        with m.If(write.en):
            m.d.sync += write.addr.eq(following)
        with m.If(taken):
            m.d.sync += [head.mask.eq(left), held.eq(~final)]
        with m.If(fetched):
            m.d.sync += [head.eq(read.data), held.eq(1), read.addr.eq(self.after(read.addr))]

        return m

    def after(self, address):
        """Return the address that follows in the ring, which always has a free word."""
        return Mux(address == self.depth - 1, 0, address + 1)
