"""Operands to events: what differs from the reference is worth a multiplication.

One register::

    operand ──► − ──► ≠ 0 or dense ──► mask ──►│──► o
    reference ──┘                     drop empty words
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import broadcast, event_word, operands, place
from rtl.timing import Timing


class EventEncoder(wiring.Component):
    """Keep the elements that differ from their reference.

    ``delta = operand - reference``; element ``n`` becomes an event if ``n < count`` and, unless
    ``dense``, ``delta != 0``. A word without events is dropped unless it is its item's last, so
    an item of zeros still completes. With a reference of zero and ``dense`` this is plain
    inference; with the operand's zero point, zero-skipping; with the values sent last, the
    temporal delta of Yousefzadeh and Sifalakis (arXiv 2107.07305).
    :func:`golden.events.encode` is its reference.

    Members
    -------
    i : ``In(stream.Signature(operands(hw)))``
        Operands in -255..255 after the subtraction.
    o : ``Out(stream.Signature(broadcast(hw)))``
        Words with at least one event, and every item's last.
    events, macs, skipped : ``Out``
        Events, multiplications and avoided multiplications of the word taken in this cycle.

    Timing
    ------
    One word a cycle, one cycle of latency.
    """

    i: stream.Interface
    o: stream.Interface
    timing = Timing(latency=1)

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(operands(hw))),
            "o": Out(stream.Signature(broadcast(hw))),
            "events": Out(range(hw.word + 1)),
            "macs": Out(32),
            "skipped": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        given, word = self.i.p, Signal(event_word(self.hw))
        mask = Signal(self.hw.word)
        count = Signal(range(self.hw.word + 1))

        for n in range(self.hw.word):
            m.d.comb += [
                word.delta[n].eq(given.operand[n] - given.reference),
                mask[n].eq((n < given.count) & (given.dense | (word.delta[n] != 0))),
            ]
        m.d.comb += [
            count.eq(sum(mask[n] for n in range(self.hw.word))),
            word.mask.eq(mask),
            Cat(word.row, word.kv, word.last).eq(Cat(given.row, given.kv, given.last)),
            self.i.ready.eq(self.o.ready | ~self.o.valid),
        ]
        taken = self.i.valid & self.i.ready
        m.d.comb += [
            self.events.eq(Mux(taken, count, 0)),
            self.macs.eq(Mux(taken, count * given.columns, 0)),
            self.skipped.eq(Mux(taken, (given.count - count)[: len(count)] * given.columns, 0)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid & ((mask != 0) | given.last)),
                self.o.p.word.eq(word),
                *(self.o.p[name].eq(given[name]) for name in place(self.hw)),
            ]

        return m
