"""An expert's output times its weight; every other word passes.

Two registers::

    int20 ──►│──► × weight ──► round half up, >> 18 ──►│──► o
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import COMBINE_SHIFT, EXPERT, UPDATE
from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest
from deltamoe.rtl.formats import requantized, tag
from deltamoe.rtl.record import Area, Record


class Combine(cycles.Combine, wiring.Component):
    """Weigh the words on their way to ``Dest.COMBINE``.

    ``c = floor(y * weight / 2**18 + 1/2)`` with ``y`` an expert's output at scale 2**-10 and
    ``weight`` in units of 2**-16, so ``c`` is at the residual's 2**-8. Every expert's term is
    rounded alone, which makes the sum independent of the order of the experts.
    :func:`deltamoe.golden.arithmetic.combine.contribution` is its reference.

    Members
    -------
    i, o : ``In(stream.Signature(requantized(hw), always_ready=True))``, ``Out(…)``
        Words with their tag, which carries the weight.

    Timing
    ------
    One word a cycle, two cycles of latency, and nothing stalls: the first register keeps the
    multiplication apart from the table's memory.
    """

    record = Record(twin="arithmetic.combine", area=Area(
        multipliers=lambda hw: hw.word,
        grows=lambda hw: (hw.word,)))

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(requantized(hw), always_ready=True)),
            "o": Out(stream.Signature(requantized(hw), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        valid, word = Signal(), Signal(requantized(self.hw))
        results = Signal(data.ArrayLayout(signed(UPDATE.bits), self.hw.word))
        kept = Signal(tag(self.hw))

        m.d.comb += [self.o.p.data.eq(results), self.o.p.tag.eq(kept)]
        m.d.sync += [valid.eq(self.i.valid), word.eq(self.i.payload),
                     self.o.valid.eq(valid), kept.eq(word.tag)]
        for n in range(self.hw.word):
            weighted = word.data[n][: EXPERT.bits].as_signed() * word.tag.weight
            rounded = (weighted + (1 << (COMBINE_SHIFT - 1))) >> COMBINE_SHIFT
            m.d.sync += results[n].eq(Mux(word.tag.dest == Dest.COMBINE, rounded, word.data[n]))

        return m
