"""Operands to events: what differs from the reference is worth a multiplication.

Two registers, and counts of the masks behind them::

    operand ──► − ──►│──► |·| > θ or dense ──► mask ──►│──┬──► o
    reference ──┤    │                        drop empty words
    beside ──►  − ──►│──► ≠ 0 or dense ──────► masks ─►│──┴──► sums of four ──►│──► … ──► events
"""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.arith.trees import balanced
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import broadcast, destination, event_word, operands
from deltamoe.rtl.interfaces import Counts, Write, YieldingWrite, bytes_of
from deltamoe.rtl.record import Area, Record


def compared(left, right):
    """Return whether ``left > right``, ``left == right``, by halves: carry chains are deeper."""
    if len(left) == 1:
        return left & ~right, ~(left ^ right)
    half = len(left) // 2
    (larger, equal), (above, same) = (compared(left[part], right[part])
                                      for part in (slice(half), slice(half, None)))
    return above | (same & larger), same & equal


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
    i : ``In(stream.Signature(operands(hw), always_ready=True))``
        Operands in -255..255 after the subtraction.
    o : ``Out(stream.Signature(broadcast(hw), always_ready=True))``
        Words with at least one event, and every item's last.
    next_place : ``Out(destination(hw))``
        Where a word goes that is on ``o`` in the next cycle.
    counts : ``Out(Counts(…))``
        Events of a word, after the masks of ``o`` went through an adder of four terms and a
        register ``log4`` of their number times; two cycles later its multiplications and the
        avoided ones. Whether a word was compared with its reference, or becomes it.
    write : ``Out(Write(hw.reference_words, bytes_of(hw)))``
        The word's new reference, ``WRITTEN`` cycles after it was taken, or the one that is loaded.
    load : ``In(YieldingWrite(hw.reference_words, bytes_of(hw)))``
        A word from memory.
    verdict : ``Out(stream.Signature(1, always_ready=True))``
        Whether any element of a probed row would have been sent, as late as its last word.

    Timing
    ------
    One word a cycle, two cycles of latency. What is loaded is written in the same cycle.
    """

    record = Record(twin="arithmetic.events", area=Area(
        multipliers=lambda hw: 2,
        grows=lambda hw: (hw.word, hw.kept_word, hw.word * (hw.read_words - 1))),
                    combinational={
        "write.address": ("load.address",), "write.data": ("load.data",), "write.en": ("load.en",),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(operands(hw), always_ready=True)),
            "o": Out(stream.Signature(broadcast(hw), always_ready=True)),
            "next_place": Out(destination(hw)),
            "counts": Out(Counts({
                "events": range(hw.read_words * hw.word + 1), "macs": 32, "macs_skipped": 32,
                "reference_words": 1})),
            "write": Out(Write(hw.reference_words, bytes_of(hw))),
            "load": In(YieldingWrite(hw.reference_words, bytes_of(hw))),
            "verdict": Out(stream.Signature(1, always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        hw, given, word = self.hw, Signal(operands(self.hw)), Signal(event_word(self.hw))
        occupied, probe, silent = Signal(), Signal(), Signal()
        delta, mask = Signal.like(word.delta), Signal(hw.word)
        regarded, differs = Signal(hw.word), Signal(hw.word)
        sent, elements = Signal(), Signal(range(hw.read_words * hw.word + 1))

        m.d.comb += [
            probe.eq(given.probe), silent.eq(self.i.p.silent),
            *(self.next_place[name].eq(given[name]) for name in destination(hw).members),
            word.delta.eq(delta), word.mask.eq(mask),
            Cat(word.row, word.kv, word.last).eq(Cat(given.row, given.kv, given.last)),
        ]
        m.d.sync += [occupied.eq(self.i.valid), given.eq(self.i.p)]
        for n in range(hw.word):
            m.d.sync += [delta[n].eq(self.i.p.complement[n] - ~self.i.p.operand[n]),
                         regarded[n].eq((n < self.i.p.count) & (self.i.p.dense | ~silent))]
            m.d.comb += [
                differs[n].eq(regarded[n] & self.differs(given, delta[n])),
                mask[n].eq(Mux(given.dense, regarded[n], differs[n])),
            ]
        m.d.comb += [sent.eq(differs.any() | (given.dense & regarded[0])),
                     elements.eq(given.count)]
        sent_beside = 0
        self.trace(m, given, mask, sent, occupied)
        if hw.read_words > 1:
            sent_beside = self.encode_beside(m, given, mask)
            with m.If(given.wide):
                m.d.comb += elements.eq(hw.read_words * hw.word)
        m.d.sync += [
            self.o.valid.eq(occupied & ~probe & (sent | sent_beside | given.last)),
            self.o.p.word.eq(word),
        ]
        self.count(m, occupied & ~probe, elements, given.columns)

        return m

    def encode_beside(self, m: Module, given, mask):
        """The words that are read with the first one, or copies of that; return if one is sent.

        The minuend of a difference takes one input of its LUT, so that the choice of what is
        subtracted fits into the same; therefore complements. Differences are above -256.
        """
        arriving, sends = self.i.p, []
        for number in range(self.hw.read_words - 1):
            delta = Signal.like(self.o.p.beside[number].delta, name=f"delta_{number}")
            differs = Signal(self.hw.word, name=f"differs_{number}")
            for n in range(self.hw.word):
                own = Mux(arriving.upper, arriving.beside[1][number][n],
                          arriving.beside[0][number][n])
                chosen = Mux(arriving.wide, Cat(own, own[7] & arriving.operand_signed),
                             arriving.operand[n].as_unsigned())
                m.d.sync += delta[n].eq(arriving.complement[n].as_unsigned() - ~chosen)
                m.d.comb += differs[n].eq(given.dense | (delta[n][:8] != 0))
            sends.append(differs.any())
            m.d.sync += [self.o.p.beside[number].delta.eq(delta),
                         self.o.p.beside[number].mask.eq(Mux(given.wide, differs, mask))]
        m.d.sync += self.o.p.wide.eq(given.wide)
        return given.wide & Cat(sends).any()

    def differs(self, given, delta):
        """Whether a difference is worth an event: ``delta > theta``, or ``~delta >= theta``."""
        if len(given.theta) == 0:
            return delta != 0
        negative = delta[-1]
        larger, equal = compared(delta[:-1] ^ negative.replicate(len(delta) - 1), given.theta)
        return larger | (equal & negative)

    def trace(self, m: Module, given, mask, sent, taken):
        """Move the reference, and judge probed rows."""
        any_before, changed, free = Signal(), Signal(), self.load.free
        scans, updates = taken & given.probe & ~given.updates, Signal()
        m.d.comb += [
            updates.eq(taken & given.updates), free.eq(~updates),
            self.write.en.eq(~free | self.load.en),
            self.write.address.eq(Mux(free, self.load.address, given.reference_address)),
            self.counts.reference_words.eq(taken & (given.tracks | given.updates)),
            changed.eq(any_before | sent),
        ]
        m.d.comb += [self.write.data[n].eq(Mux(free, self.load.data[n], Mux(
            mask[n], given.operand[n], ~given.complement[n]))) for n in range(self.hw.word)]
        m.d.sync += [self.verdict.valid.eq(scans & given.last), self.verdict.payload.eq(changed)]
        with m.If(scans):
            m.d.sync += any_before.eq(changed & ~given.last)

    def count(self, m: Module, taken, elements, columns):
        """Add up the masks of ``o`` after words were ``taken``, four or sixteen bits a stage."""
        word, counts = self.hw.word, self.counts
        fresh, words = Signal(), [self.o.p.word.mask]
        if self.hw.read_words > 1:
            words += [Mux(self.o.p.wide, other.mask, 0) for other in self.o.p.beside]
        ones = Array(n.bit_count() for n in range(16))
        level = [Mux(fresh, ones[mask[n : n + 4]], 0) for mask in words for n in range(0, word, 4)]
        m.d.sync += fresh.eq(taken)
        elements = self.delayed(m, Mux(taken, elements, 0), "elements_0")
        columns = self.delayed(m, columns, "columns_0")
        stage = 0
        while stage == 0 or len(level) > 1:
            stage += 1
            level = [self.delayed(m, balanced(level[n : n + 4]), f"ones_{stage}_{n}")
                     for n in range(0, len(level), 4)]
            elements = self.delayed(m, elements, f"elements_{stage}")
            columns = self.delayed(m, columns, f"columns_{stage}")
        m.d.comb += counts.events.eq(level[0])
        events = self.delayed(m, counts.events, "multiplied")
        skipped = self.delayed(m, (elements - counts.events).as_unsigned(), "skipped")
        columns = self.delayed(m, columns, "columns")
        m.d.sync += [counts.macs.eq(events * columns), counts.macs_skipped.eq(skipped * columns)]

    def delayed(self, m: Module, value, name: str) -> Signal:
        """Return ``value`` a cycle later."""
        register = Signal.like(value, name=name)
        m.d.sync += register.eq(value)
        return register
