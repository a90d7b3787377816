"""One event queue and the bookkeeping of its group's banks of accumulators.

Items go round the banks, so the drain of one never stops the sum of the next.
"""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.formats import event, event_word
from deltamoe.rtl.linear.event_queue import EventQueue
from deltamoe.rtl.record import Area, Ram, Record
from deltamoe.rtl.stream.pipe import pipe


class OldestItem(wiring.Signature):
    """The oldest item of a group, as the group sees it.

    Members
    -------
    bank : ``Out(range(hw.banks))``
        Where its sums are.
    summed : ``Out(2)``
        Whether all sums of the oldest item, and of the one behind it, will be in their banks in the
        next cycle.
    release : ``In(1)``
        It has been drained.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({"bank": Out(range(hw.banks)), "summed": Out(2), "release": In(1)})


class Worker(cycles.Worker, wiring.Component):
    """Pop events into one bank after the other as long as a bank is free.

    Members
    -------
    i : ``In(stream.Signature(event_word(hw)))``
        Events of the items accepted, in order.
    accept : ``In(1)``
        An item has been assigned; at most three may be waiting.
    waiting : ``Out(2)``
        Items assigned whose last event has not been popped.
    o : ``Out(stream.Signature(event(hw), always_ready=True))``
        The event popped in the cycle before.
    oldest : ``Out(OldestItem(hw))``
        The item whose sums are drained next.
    blocked : ``Out(1)``
        In the cycle before, an item's first event waited because all banks were full.

    Timing
    ------
    An item's sums are in their bank ``LATENCY`` cycles after its last event was popped; ``summed``
    tells so the cycle before, from registers, whatever ``release`` is. An item's first event is
    popped at the earliest two cycles after its word came in, one after the previous item's last
    event, and ``FREED`` after the ``release`` of the item ``banks`` before it. The
    flushes of two runs of events are at least ``FLUSHES`` cycles apart, which holds back a run of a
    single event by one cycle. Events leave through registers, so the multipliers may be far from
    the queue.
    """

    record = Record(moves="orders events", area=Area(
        instances=lambda hw: hw.groups,
        block=lambda hw: (Ram(event_word(hw), hw.queue_words - 1),) if hw.block_queues else (),
        distributed=lambda hw: () if hw.block_queues else (Ram(event_word(hw), hw.queue_words),),
        grows=lambda hw: (hw.word, hw.word * (hw.queue_words // 64), hw.banks)))

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(event_word(hw))),
            "accept": In(1), "waiting": Out(2),
            "o": Out(stream.Signature(event(hw), always_ready=True)),
            "oldest": Out(OldestItem(hw)), "blocked": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        banks, oldest, leaving = self.hw.banks, self.oldest, self.o.p
        m.submodules.queue = queue = EventQueue(self.hw, self.hw.queue_words)
        pipe(m, flipped(self.i), queue.i)

        fill, first = Signal(range(banks)), Signal(init=1)
        position, fresh, flushed = Signal(range(RUN)), Signal(init=1), Signal()
        used, complete = Signal(banks), Signal(banks)
        finishing = [Signal(banks, name=f"finishing_{n}") for n in range(self.LATENCY)]
        free, flush, popped = Signal(init=1), Signal(), Signal()
        following = (oldest.bank + 1)[: len(fill)]
        released, taken, summed = Signal(banks), Signal(banks), Signal(banks)

        m.d.comb += [
            taken.eq(used & ~released), summed.eq(complete & ~released),
            flush.eq(queue.o.p.last | (position == RUN - 1)),
            queue.o.ready.eq(free & ~(flushed & queue.o.p.last)),
            popped.eq(queue.o.valid & queue.o.ready),
            finishing[0].eq((popped & queue.o.p.last) << fill),
            oldest.summed.eq(Cat(summed.bit_select(oldest.bank, 1),
                                 summed.bit_select(following, 1))),
        ]
        for earlier, later in pairwise(finishing):
            m.d.sync += later.eq(earlier)
        m.d.sync += [
            self.blocked.eq(queue.o.valid & ~free), self.o.valid.eq(popped),
            leaving.eq(queue.o.payload), leaving.begin.eq(position == 0),
            leaving.flush.eq(flush), leaving.fresh.eq(fresh), leaving.bank.eq(fill),
            flushed.eq(popped & flush),
            used.eq(taken | ((popped & first) << fill)),
            free.eq(Mux(popped, ~(queue.o.p.last & taken.bit_select((fill + 1)[: len(fill)], 1)),
                        ~(first & taken.bit_select(fill, 1)))),
            complete.eq(summed | finishing[-2]), released.eq(oldest.release << oldest.bank),
            oldest.bank.eq(oldest.bank + oldest.release),
            self.waiting.eq(self.waiting + self.accept - (popped & queue.o.p.last)),
        ]
        with m.If(popped):
            m.d.sync += [first.eq(queue.o.p.last), fill.eq(fill + queue.o.p.last),
                         position.eq(position + 1), fresh.eq(fresh & ~flush)]
            with m.If(flush):
                m.d.sync += position.eq(0)
            with m.If(queue.o.p.last):
                m.d.sync += fresh.eq(1)

        return m
