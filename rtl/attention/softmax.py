"""Softmax of a row of scores in one pass over memory, without its division.

::

    i ──┬──► score rows (4) ──►│──► max − t ──►│──► table ──►│──► shift ──►│──┬──► o
        └──► maxima ──►│──► maximum ──►│─┘                                    │
                           normalizer ◄── divider ◄──│◄── total ◄──│◄── sums ─┘
"""

from amaranth import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import KAPPA_SHIFTS, LARGEST_CODE, LONG_ROW, SCORE, SHIFTS
from deltamoe.rtl import cycles
from deltamoe.rtl.arith.divider import Divider
from deltamoe.rtl.arith.trees import maximum, total
from deltamoe.rtl.attention.exponential import Exponential
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import adding, comparing
from deltamoe.rtl.formats import NORMALIZER, beat, scores
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Area, Ram, Record


class Softmax(cycles.Softmax, wiring.Component):
    """Exponentials relative to the row's maximum, and the reciprocal of their sum.

    ``m = max(t)``; ``e = exponential(m - t)``; ``l = sum(e)``; the normalizer is
    ``(kappa + (l >> 1)) // l`` with ``kappa22`` and shift 22 if ``l < 4096``, else with
    ``kappa26`` and shift 26. The division by ``l`` is deferred behind the product with the
    values (base 2 and a single pass after Softermax, Stevens et al., DAC 2021).
    :func:`deltamoe.golden.arithmetic.softmax.softmax` is its reference.

    Members
    -------
    i : ``In(stream.Signature(scores(hw.word)))``
        Logits in 1/64 octaves. Refused only while ``ROWS`` rows are waiting.
    o : ``Out(stream.Signature(beat(8, hw.word)))``
        Exponentials; zero behind the row's end.
    normalizer : ``Out(stream.Signature(NORMALIZER))``
        One for each row.
    kappa22, kappa26 : ``In(32)``
        Output scale times ``2**22`` and ``2**26``; stable while rows are in flight.

    Timing
    ------
    A row of ``n`` words whose last word came in cycle ``t`` is read from cycle ``t + found(hw)``
    on, or behind the row before it without a gap: registers for each comparison of a word's
    maximum, one for the row's. A word leaves ``POWER`` cycles after it was read, a row's normalizer
    ``division(hw)`` cycles after its last word: registers for the sum of a word, that of the row,
    the numerator, and the divider.
    """

    record = Record(twin="arithmetic.softmax", area=Area(
        block=lambda hw: (Ram(16 * hw.word, Softmax.ROWS * hw.row_words),),
        grows=lambda hw: (hw.word,)))

    i: stream.Interface
    o: stream.Interface
    normalizer: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(scores(hw.word))),
            "o": Out(stream.Signature(beat(8, hw.word))),
            "normalizer": Out(stream.Signature(NORMALIZER)),
            "kappa22": In(32), "kappa26": In(32),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        m.submodules.rows = rows = BlockMemory(
            data.ArrayLayout(signed(16), hw.word), self.ROWS * hw.row_words)
        taken = Array(Signal(name=f"taken_{n}") for n in range(self.ROWS))
        full = Array(Signal(name=f"full_{n}") for n in range(self.ROWS))
        maxima = Array(Signal(signed(16), name=f"maximum_{n}")
                       for n in range(self.ROWS))
        lengths = Array(Signal(range(hw.row_words), name=f"length_{n}") for n in range(self.ROWS))
        counts = Array(Signal(range(hw.word + 1), name=f"count_{n}")
                       for n in range(self.ROWS))

        self.collect(m, rows.write_port(), taken, full, maxima, lengths, counts)
        self.emit(m, rows.read_port(), taken, full, maxima, lengths, counts)

        return m

    def collect(self, m: Module, write, taken, full, maxima, lengths, counts):
        """Store a row, find each word's maximum, and one cycle later the row's.

        A row is ``taken`` with its last word, and ``full`` once its maximum is known.
        """
        hw, word = self.hw, self.i.p
        bank, position = Signal(range(self.ROWS)), Signal(range(hw.row_words))
        lowest = SCORE.lowest
        running, highest = Signal(signed(16), init=lowest), Signal(signed(16))
        largest = maximum(m, [word.data[n] for n in range(hw.word)], word.count, lowest, "larger")
        found, ends, before = write.en, word.last, bank
        for _ in range(comparing(hw.word)):
            earlier = found, ends, before
            found, ends, before = Signal(), Signal(), Signal(range(self.ROWS))
            m.d.sync += [found.eq(earlier[0]), ends.eq(earlier[1]), before.eq(earlier[2])]
        m.d.comb += [
            self.i.ready.eq(~taken[bank]), write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(bank * hw.row_words + position), write.data.eq(word.data),
            highest.eq(Mux(largest > running, largest, running)),
        ]
        with m.If(write.en):
            m.d.sync += position.eq(position + 1)
            with m.If(word.last):
                m.d.sync += [position.eq(0), bank.eq(bank + 1), taken[bank].eq(1),
                             lengths[bank].eq(position), counts[bank].eq(word.count)]
        with m.If(found):
            m.d.sync += running.eq(highest)
            with m.If(ends):
                m.d.sync += [running.eq(lowest), full[before].eq(1), maxima[before].eq(highest)]

    def emit(self, m: Module, read, taken, full, maxima, lengths, counts):
        """Read a row back, exponentiate, and hand the sum to the divider."""
        hw = self.hw
        bank, position = Signal(range(self.ROWS)), Signal(range(hw.row_words))
        reading, final, enable = Signal(), Signal(), Signal()
        largest, valid, last = Signal(signed(16)), Signal(4), Signal(4)
        within = [Signal(range(hw.word + 1), name=f"within_{stage}") for stage in range(3)]

        m.d.comb += [
            reading.eq(full[bank]), final.eq(position == lengths[bank]),
            read.en.eq(enable), read.addr.eq(bank * hw.row_words + position),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(enable):
            m.d.sync += [
                valid.eq((valid << 1) | reading), last.eq((last << 1) | final),
                largest.eq(maxima[bank]), within[0].eq(Mux(final, counts[bank], hw.word)),
                within[1].eq(within[0]), within[2].eq(within[1]),
                self.o.valid.eq(valid[2]), self.o.p.last.eq(last[2]),
            ]
            with m.If(reading):
                m.d.sync += position.eq(position + 1)
                with m.If(final):
                    m.d.sync += [position.eq(0), bank.eq(bank + 1), full[bank].eq(0),
                                 taken[bank].eq(0)]
        for n in range(hw.word):
            m.submodules[f"exponential_{n}"] = exponential = Exponential()
            m.d.comb += exponential.enable.eq(enable)
            with m.If(enable):
                m.d.sync += [exponential.distance.eq(largest - read.data[n]),
                             self.o.p.data[n].eq(Mux(n < within[2], exponential.e, 0))]
        self.divide(m, enable, valid[3], last[3])

    def divide(self, m: Module, enable, valid, last):
        """Sum the exponentials of ``o``; connect the divider to the sum and to ``normalizer``."""
        m.submodules.divider = divider = Divider(1)
        short, long = map(SHIFTS.index, KAPPA_SHIFTS)
        row, goes_on = Signal(range(LARGEST_CODE * self.hw.max_tokens + 1)), Signal()
        ends, divides, is_large = Signal(), Signal(), Signal()
        fraction = Signal.like(divider.i.payload)
        word = total(m, [self.o.p.data[n] for n in range(self.hw.word)], "word_total", enable)
        m.d.comb += [
            enable.eq((self.o.ready | ~self.o.valid) & (~divides | divider.i.ready)),
            is_large.eq(row >= LONG_ROW), divider.i.valid.eq(divides & enable),
            divider.i.payload.eq(fraction),
        ]
        for _ in range(adding(self.hw.word)):
            earlier = valid, last
            valid, last = Signal(), Signal()
            with m.If(enable):
                m.d.sync += [valid.eq(earlier[0]), last.eq(earlier[1])]
        with m.If(enable):
            m.d.sync += [
                ends.eq(valid & last), divides.eq(ends), fraction.denominator.eq(row),
                fraction.numerator.eq(Mux(is_large, self.kappa26, self.kappa22) + (row >> 1)),
                fraction.tag.eq(is_large),
            ]
            with m.If(valid):
                m.d.sync += [goes_on.eq(~last), row.eq(Mux(goes_on, row, 0) + word)]
        m.d.comb += [
            self.normalizer.valid.eq(divider.o.valid), divider.o.ready.eq(self.normalizer.ready),
            self.normalizer.p.multiplier.eq(divider.o.p.value),
            self.normalizer.p.shift.eq(Mux(divider.o.p.tag, long, short)),
        ]
