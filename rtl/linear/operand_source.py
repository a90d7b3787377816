"""Items to words of operands: waits for what an item needs, picks a queue, reads the row.

::

    item ──► dependencies met? free queue? ──► read address ──►│ memory ──►│──► o
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import drained, item, operands
from rtl.program import Source


class OperandSource(wiring.Component):
    """Hand every item to the freest queue and stream its row.

    An item goes to the lowest-numbered worker without waiting items, else to the lowest-numbered
    with one. Only workers whose group leads a gang take part.

    Members
    -------
    i : ``In(stream.Signature(item(hw)))``
        Items in issue order.
    waiting : ``In(2).array(hw.workers)``
        Items waiting at each worker.
    gang : ``In(4)``
        Index into ``hw.gangs``.
    normed_rows, probability_rows : ``In(16)``
        Rows that the normalization and the softmax have completed since the operator began.
    reference : ``In(signed(9))``
        Subtracted from every operand: zero, or the zero point when zeros are skipped.
    address, data : ``Out(16)``, ``In(words of hw.word bytes).array(4)``
        Read port of each :class:`Source`; data follow in the next cycle.
    o : ``Out(stream.Signature(operands(hw)))``
        Operands; must always be taken.
    accept : ``Out(hw.workers)``
        One-hot, when an item is taken.
    drained : ``Out(stream.Signature(drained(hw)))``
        The item's record for the drain; must always be taken.
    busy, needs, full : ``Out(1)``
        A word is read; an item waits for its dependency; for a queue.

    Timing
    ------
    An item of ``n`` words accepted in cycle ``t`` reads in cycles ``t`` to ``t + n - 1``; its
    first word is on ``o`` in cycle ``t + 1``; the next item may be accepted in ``t + n``.
    """

    i: stream.Interface
    o: stream.Interface
    drained: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(item(hw))),
            "waiting": In(2).array(hw.workers), "gang": In(4),
            "normed_rows": In(16), "probability_rows": In(16), "reference": In(signed(9)),
            "address": Out(16), "data": In(data.ArrayLayout(8, hw.word)).array(len(Source)),
            "o": Out(stream.Signature(operands(hw))),
            "accept": Out(hw.workers), "drained": Out(stream.Signature(drained(hw))),
            "busy": Out(1), "needs": Out(1), "full": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        hw, given = self.hw, self.i.p
        left, address = Signal(16), Signal(16)
        current, sent = Signal(item(hw)), Signal(item(hw))
        chosen, found = self.choose(m)
        worker, fresh = Signal(range(hw.workers)), Signal()

        completed = Mux(given.source == Source.PROBABILITIES,
                        self.probability_rows, self.normed_rows)
        met = Signal()
        m.d.comb += [
            met.eq(given.need <= completed),
            fresh.eq((left == 0) & self.i.valid & met & found),
            self.i.ready.eq(fresh),
            self.needs.eq((left == 0) & self.i.valid & ~met),
            self.full.eq((left == 0) & self.i.valid & met & ~found),
            self.busy.eq(fresh | (left != 0)),
            self.accept.eq(fresh << chosen),
            self.address.eq(Mux(fresh, given.address, address)),
            self.drained.payload.eq(given.drained), self.drained.p.worker.eq(chosen),
            self.drained.valid.eq(fresh),
            current.eq(sent), current.row.eq(sent.row + hw.word),
        ]
        with m.If(fresh):
            m.d.comb += current.eq(given)
            m.d.sync += [left.eq(given.words - 1), worker.eq(chosen)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        final = Signal()
        m.d.comb += final.eq(Mux(fresh, given.words == 1, left == 1))
        m.d.sync += [
            address.eq(self.address + 1), self.o.valid.eq(self.busy),
            self.o.p.last.eq(final), self.o.p.count.eq(Mux(final, current.tail, hw.word)),
        ]
        with m.If(self.busy):
            m.d.sync += sent.eq(current)
        m.d.comb += [
            Cat(self.o.p.row, self.o.p.kv, self.o.p.columns).eq(
                Cat(sent.row, sent.kv, sent.columns)),
            self.o.p.worker.eq(worker),
        ]
        word = Signal(data.ArrayLayout(8, hw.word))
        with m.Switch(sent.source):
            for source in Source:
                with m.Case(source):
                    m.d.comb += word.eq(self.data[source.value])
        for n in range(hw.word):
            m.d.comb += [
                self.o.p.operand[n].eq(Mux(sent.operand_signed, word[n].as_signed(), word[n])),
                self.o.p.reference[n].eq(self.reference),
            ]

        return m

    def choose(self, m: Module):
        """Return the worker for the next item, and whether there is one."""
        hw = self.hw
        eligible, chosen, found = Signal(hw.workers), Signal(range(hw.workers)), Signal()
        with m.Switch(self.gang):
            for index, gang in enumerate(hw.gangs):
                with m.Case(index):
                    m.d.comb += eligible.eq(sum(
                        1 << n for n in range(hw.workers) if n // hw.queues % gang == 0))
        for waiting in (1, 0):
            for number in reversed(range(hw.workers)):
                with m.If(eligible[number] & (self.waiting[number] == waiting)):
                    m.d.comb += [chosen.eq(number), found.eq(1)]
        return chosen, found
