"""Softmax of a row of scores in one pass over memory, without its division.

::

    i ──► maximum ──► score rows (4) ──►│──► max − t ──► 2^−x ──►│──► o
                                                      └──► sum ──► divider ──► normalizer
"""

from amaranth import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arith.divider import Divider
from rtl.attention.exponential import Exponential
from rtl.config import HwConfig
from rtl.formats import NORMALIZER, beat, scores


class Softmax(wiring.Component):
    """Exponentials relative to the row's maximum, and the reciprocal of their sum.

    ``m = max(t)``; ``e = exponential(m - t)``; ``l = sum(e)``; the normalizer is
    ``(kappa + (l >> 1)) // l`` with ``kappa22`` and shift 22 if ``l < 4096``, else with
    ``kappa26`` and shift 26. The division by ``l`` is deferred behind the product with the
    values (base 2 and a single pass after Softermax, Stevens et al., DAC 2021).
    :func:`golden.softmax.softmax` is its reference.

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
    A row of ``n`` words whose last word came in cycle ``t`` leaves in cycles ``t + 3`` to
    ``t + n + 2``, or behind the row before it without a gap; its normalizer ``DIVISION`` cycles
    after its last word.
    """

    ROWS = 4
    LATENCY = 3
    DIVISION = Divider.LATENCY

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
        m.submodules.rows = rows = Memory(
            shape=data.ArrayLayout(signed(16), hw.word), depth=self.ROWS * hw.row_words, init=[],
            attrs={"ram_style": "block"}
        )
        full = Array(Signal(name=f"full_{n}") for n in range(self.ROWS))
        maxima = Array(Signal(signed(16), name=f"maximum_{n}")
                       for n in range(self.ROWS))
        lengths = Array(Signal(16, name=f"length_{n}") for n in range(self.ROWS))
        counts = Array(Signal(range(hw.word + 1), name=f"count_{n}")
                       for n in range(self.ROWS))

        self.collect(m, rows.write_port(), full, maxima, lengths, counts)
        self.emit(m, rows.read_port(), full, maxima, lengths, counts)

        return m

    def collect(self, m: Module, write, full, maxima, lengths, counts):
        """Store a row and find its maximum."""
        hw, given = self.hw, self.i.p
        bank, position = Signal(range(self.ROWS)), Signal(16)
        lowest = -(1 << 15)
        running, highest = Signal(signed(16), init=lowest), Signal(signed(16))
        contenders = [running, *(Mux(n < given.count, given.data[n], lowest)
                                 for n in range(hw.word))]
        while len(contenders) > 1:
            left, right, *contenders = contenders
            larger = Signal(signed(16), name=f"larger_{len(contenders)}")
            m.d.comb += larger.eq(Mux(left > right, left, right))
            contenders.append(larger)
        m.d.comb += highest.eq(contenders[0])
        m.d.comb += [
            self.i.ready.eq(~full[bank]), write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(bank * hw.row_words + position), write.data.eq(given.data),
        ]
        with m.If(write.en):
            m.d.sync += [running.eq(highest), position.eq(position + 1)]
            with m.If(given.last):
                m.d.sync += [
                    running.eq(lowest), position.eq(0), bank.eq(bank + 1), full[bank].eq(1),
                    maxima[bank].eq(highest), lengths[bank].eq(position),
                    counts[bank].eq(given.count),
                ]

    def emit(self, m: Module, read, full, maxima, lengths, counts):
        """Read a row back, exponentiate, sum, and hand the sum to the divider."""
        hw = self.hw
        m.submodules.divider = divider = Divider(1)
        bank, position, total = Signal(range(self.ROWS)), Signal(16), Signal(20)
        final, enable = Signal(), Signal()
        reading = Signal()
        fetched, fetched_last = Signal(), Signal()
        maximum, count = Signal(signed(16)), Signal(range(hw.word + 1))
        division = Signal()
        summed = Signal(20)

        m.d.comb += [
            division.eq(fetched & fetched_last),
            enable.eq((self.o.ready | ~self.o.valid) & (~division | divider.i.ready)),
            reading.eq(full[bank]), final.eq(position == lengths[bank]),
            read.en.eq(enable), read.addr.eq(bank * hw.row_words + position),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(enable):
            m.d.sync += [
                fetched.eq(reading), fetched_last.eq(final), maximum.eq(maxima[bank]),
                count.eq(Mux(final, counts[bank], hw.word)), self.o.valid.eq(fetched),
                self.o.p.last.eq(fetched_last),
            ]
            with m.If(reading):
                m.d.sync += position.eq(position + 1)
                with m.If(final):
                    m.d.sync += [position.eq(0), bank.eq(bank + 1), full[bank].eq(0)]
            with m.If(fetched):
                m.d.sync += total.eq(Mux(fetched_last, 0, summed))
        powers = []
        for n in range(hw.word):
            m.submodules[f"exponential_{n}"] = exponential = Exponential()
            m.d.comb += exponential.distance.eq(maximum - read.data[n])
            powers.append(Mux(n < count, exponential.e, 0))
            with m.If(enable):
                m.d.sync += self.o.p.data[n].eq(powers[n])
        m.d.comb += summed.eq(total + sum(powers))
        self.divide(m, divider, division & (self.o.ready | ~self.o.valid), summed)

    def divide(self, m: Module, divider: Divider, start, total):
        """Connect the divider to the sum and to ``normalizer``."""
        is_large = Signal()
        m.d.comb += [
            is_large.eq(total >= 4096), divider.i.valid.eq(start),
            divider.i.p.denominator.eq(total), divider.i.p.tag.eq(is_large),
            divider.i.p.numerator.eq(Mux(is_large, self.kappa26, self.kappa22) + (total >> 1)),
            self.normalizer.valid.eq(divider.o.valid), divider.o.ready.eq(self.normalizer.ready),
            self.normalizer.p.multiplier.eq(divider.o.p.value),
            self.normalizer.p.shift.eq(Mux(divider.o.p.tag, 3, 2)),
        ]
