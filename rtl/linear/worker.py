"""One event queue and the bookkeeping of its two banks of accumulators.

Items alternate between the banks, so the drain of one never stops the sum of the next.
"""

from itertools import pairwise

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from rtl.config import HwConfig
from rtl.formats import EVENT, event_word
from rtl.linear.event_queue import EventQueue
from rtl.stream.pipe import pipe


class Worker(wiring.Component):
    """Pop events into alternating banks as long as a bank is free.

    Members
    -------
    i : ``In(stream.Signature(event_word(hw)))``
        Events of the items accepted, in order.
    accept : ``In(1)``
        An item has been assigned; at most two may be waiting.
    waiting : ``Out(2)``
        Items assigned whose last event has not been popped.
    event, valid : ``Out(EVENT)``, ``Out(1)``
        One event; the lane groups always take it.
    complete : ``Out(1)``
        The oldest item's sums are in ``bank``.
    bank : ``Out(1)``
        Bank of the oldest item.
    release : ``In(1)``
        The oldest item has been drained.
    blocked : ``Out(1)``
        An event waits because both banks are full.

    Timing
    ------
    ``complete`` rises ``LATENCY`` cycles after the item's last event left. An item's first event
    leaves at the earliest in the cycle after its word came in, after the previous item's last
    event, and after the ``release`` of the item before that.
    """

    LATENCY = 4

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(event_word(hw))),
            "accept": In(1), "waiting": Out(2),
            "event": Out(EVENT), "valid": Out(1),
            "complete": Out(1), "bank": Out(1), "release": In(1), "blocked": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = EventQueue(self.hw, self.hw.queue_words)
        pipe(m, flipped(self.i), queue.i)

        fill, first = Signal(), Signal(init=1)
        used, full = Signal(2), Signal(2)
        finishing = [Signal(2, name=f"finishing_{n}") for n in range(self.LATENCY)]

        allowed = ~first | ~used.bit_select(fill, 1)
        popped = queue.o.valid & queue.o.ready
        m.d.comb += [
            queue.o.ready.eq(allowed),
            self.blocked.eq(queue.o.valid & ~allowed),
            self.event.eq(queue.o.payload),
            self.event.first.eq(first),
            self.event.bank.eq(fill),
            self.valid.eq(popped),
            finishing[0].eq((popped & queue.o.p.last) << fill),
            self.complete.eq(full.bit_select(self.bank, 1)),
        ]
        for earlier, later in pairwise(finishing):
            m.d.sync += later.eq(earlier)
        released = Signal(2)
        m.d.comb += released.eq(self.release << self.bank)
        m.d.sync += [
            used.eq((used | ((popped & first) << fill)) & ~released),
            full.eq((full | finishing[-1]) & ~released),
            self.bank.eq(self.bank ^ self.release),
            self.waiting.eq(self.waiting + self.accept - (popped & queue.o.p.last)),
        ]
        with m.If(popped):
            m.d.sync += [first.eq(queue.o.p.last), fill.eq(fill ^ queue.o.p.last)]

        return m
