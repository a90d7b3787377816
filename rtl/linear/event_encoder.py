"""Operands to events: what differs from the reference is worth a multiplication.

One register::

    operand ──► − ──► |·| > θ or dense ──► mask ──►│──► o
    reference ──┤                         drop empty words
    beside ──►  − ──► ≠ 0 or dense ──────► masks ─►│
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import broadcast, event_word, operands, place
from deltamoe.rtl.interfaces import Counts, Write, YieldingWrite, bytes_of
from deltamoe.rtl.record import Area, Record


class EventEncoder(cycles.EventEncoder, wiring.Component):
    """Keep the elements that differ from their reference.

    ``delta = operand - reference``; element ``n`` becomes an event if ``n < count`` and, unless
    ``dense``, ``|delta| > theta``. With ``updates`` the reference becomes the operand where an
    event is sent, so the sums of all events are those of the reference, and what was left out is
    never more than ``theta``. A word without events is dropped unless it is its item's last, so
    an item of zeros still completes. With a reference of zero and ``dense`` this is plain
    inference; with the operand's zero point, zero-skipping; with the values sent last, the
    temporal delta of Yousefzadeh and Sifalakis (arXiv 2107.07305).
    :func:`deltamoe.golden.arithmetic.events.encode` is its reference. ``wide`` words, of which all
    are full and the reference is one, are not compared with ``theta``.

    Members
    -------
    i : ``In(stream.Signature(operands(hw)))``
        Operands in -255..255 after the subtraction.
    o : ``Out(stream.Signature(broadcast(hw)))``
        Words with at least one event, and every item's last.
    counts : ``Out(Counts(…))``
        Events, multiplications and avoided multiplications of the word taken in the cycle before;
        whether a word is compared with its reference, or becomes it.
    write : ``Out(Write(hw.reference_words, bytes_of(hw)))``
        The word's new reference, or the one that is loaded.
    load : ``In(YieldingWrite(hw.reference_words, bytes_of(hw)))``
        A word from memory.
    verdict : ``Out(stream.Signature(1, always_ready=True))``
        Whether any element of a probed row would have been sent, with the row's last word.

    Timing
    ------
    One word a cycle, one cycle of latency.
    """

    record = Record(twin="arithmetic.events", area=Area(
        multipliers=lambda hw: 2,
        grows=lambda hw: (hw.word, hw.word * hw.temporal, hw.word * (hw.read_words - 1))),
                    combinational={
        "counts.reference_words": ("i.payload", "i.valid", "o.ready"),
        "i.ready": ("o.ready",),
        "load.free": ("i.payload", "i.valid", "o.ready"),
        "verdict.payload": ("i.payload",),
        "verdict.valid": ("i.payload", "i.valid", "o.ready"),
        "write.address": ("i.payload", "i.valid", "load.address", "o.ready"),
        "write.data": ("i.payload", "i.valid", "load.data", "o.ready"),
        "write.en": ("i.payload", "i.valid", "load.en", "o.ready"),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(operands(hw))),
            "o": Out(stream.Signature(broadcast(hw))),
            "counts": Out(Counts({
                "events": range(hw.read_words * hw.word + 1), "macs": 32, "macs_skipped": 32,
                **({"reference_words": 1} if hw.temporal else {})})),
            **({"write": Out(Write(hw.reference_words, bytes_of(hw))),
                "load": In(YieldingWrite(hw.reference_words, bytes_of(hw))),
                "verdict": Out(stream.Signature(1, always_ready=True))} if hw.temporal else {}),
        })

    def elaborate(self, platform):
        m = Module()
        given, word = self.i.p, Signal(event_word(self.hw))
        mask = Signal(self.hw.word)
        columns, any_event, counts = Signal.like(given.columns), Signal(), self.counts
        count, elements, avoided = (Signal.like(counts.events, name=name)
                                    for name in ("count", "elements", "avoided"))

        for n in range(self.hw.word):
            m.d.comb += [
                word.delta[n].eq(given.complement[n] - ~given.operand[n]),
                mask[n].eq((n < given.count) & (given.dense | self.sends(word.delta[n]))),
            ]
        m.d.comb += [
            elements.eq(given.count), count.eq(sum(mask)), any_event.eq(mask.any()),
            word.mask.eq(mask),
            Cat(word.row, word.kv, word.last).eq(Cat(given.row, given.kv, given.last)),
            self.i.ready.eq(self.o.ready | ~self.o.valid),
        ]
        taken = self.i.valid & self.i.ready
        probe = given.probe if self.hw.temporal else 0
        m.d.sync += [
            counts.events.eq(Mux(taken & ~probe, count, 0)), columns.eq(given.columns),
            avoided.eq(Mux(taken & ~probe, elements - count, 0)),
        ]
        m.d.comb += [counts.macs.eq(counts.events * columns),
                     counts.macs_skipped.eq(avoided * columns)]
        if self.hw.temporal:
            self.trace(m, mask, taken)
        if self.hw.read_words > 1:
            self.encode_beside(m, word, count, elements, any_event)
        with m.If(self.i.ready):
            m.d.sync += [
                self.o.valid.eq(self.i.valid & ~probe & (any_event | given.last)),
                self.o.p.word.eq(word),
                *(self.o.p[name].eq(given[name]) for name in place(self.hw)),
            ]

        return m

    def encode_beside(self, m: Module, word, count, elements, any_event):
        """The words that are read with the first one, or copies of that.

        The minuend of a difference takes one input of its LUT, so that the choice of what is
        subtracted fits into the same; therefore complements. Differences are above -256.
        """
        given, hw, masks = self.i.p, self.hw, []
        for number in range(hw.read_words - 1):
            made = Signal(self.o.p.beside[number].shape(), name=f"beside_{number}")
            for n in range(hw.word):
                own = Mux(given.upper, given.beside[1][number][n], given.beside[0][number][n])
                chosen = Mux(given.wide, Cat(own, own[7] & given.operand_signed),
                             given.operand[n].as_unsigned())
                m.d.comb += [
                    made.delta[n].eq(given.complement[n].as_unsigned() - ~chosen),
                    made.mask[n].eq(Mux(given.wide, given.dense | (made.delta[n][:8] != 0),
                                        word.mask[n])),
                ]
            masks.append(made.mask)
            with m.If(self.i.ready):
                m.d.sync += self.o.p.beside[number].eq(made)
        with m.If(self.i.ready):
            m.d.sync += self.o.p.wide.eq(given.wide)
        m.d.comb += any_event.eq(Cat(word.mask, *masks).any())
        with m.If(given.wide):
            m.d.comb += [count.eq(sum(word.mask) + sum(sum(mask) for mask in masks)),
                         elements.eq(hw.read_words * hw.word)]

    def sends(self, delta):
        """Whether a difference is worth an event."""
        if not self.hw.temporal:
            return delta != 0
        theta = self.i.p.theta
        beyond = delta + theta
        return ~self.i.p.silent & ((beyond < 0) | (beyond.as_unsigned()[:-1] > 2 * theta))

    def trace(self, m: Module, mask, taken):
        """Move the reference, and judge probed rows."""
        given, any_before, changed, free = self.i.p, Signal(), self.verdict.payload, self.load.free
        scans = taken & given.probe & ~given.updates
        m.d.comb += [
            free.eq(~(taken & given.updates)), self.write.en.eq(~free | self.load.en),
            self.write.address.eq(Mux(free, self.load.address, given.reference_address)),
            self.counts.reference_words.eq(taken & (given.tracks | given.updates)),
            changed.eq(any_before | mask.any()), self.verdict.valid.eq(scans & given.last),
        ]
        m.d.comb += [self.write.data[n].eq(Mux(free, self.load.data[n], Mux(
            mask[n], given.operand[n], ~given.complement[n]))) for n in range(self.hw.word)]
        with m.If(scans):
            m.d.sync += any_before.eq(changed & ~given.last)
