"""An expert's output times its weight; every other word passes.

One register::

    int20 ──► × weight ──► round half up, >> 18 ──►│──► o
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import requantized, tag
from rtl.program import Dest
from rtl.timing import Timing


class Combine(wiring.Component):
    """Weigh the words on their way to ``Dest.COMBINE``.

    ``c = floor(y * weight / 2**18 + 1/2)`` with ``y`` an expert's output at scale 2**-10 and
    ``weight`` in units of 2**-16, so ``c`` is at the residual's 2**-8. Every expert's term is
    rounded alone, which makes the sum independent of the order of the experts.
    :func:`golden.combine.contribution` is its reference.

    Members
    -------
    i, o : ``In(stream.Signature(requantized(hw)))``, ``Out(…)``
        Words with their tag, which carries the weight.

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
            "i": In(stream.Signature(requantized(hw))),
            "o": Out(stream.Signature(requantized(hw))),
        })

    def elaborate(self, platform):
        m = Module()
        enable = Signal()
        given = self.i.p
        results = Signal(data.ArrayLayout(signed(24), self.hw.word))
        kept = Signal(tag(self.hw))

        m.d.comb += [enable.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(enable),
                     self.o.p.data.eq(results), self.o.p.tag.eq(kept)]
        with m.If(enable):
            m.d.sync += [self.o.valid.eq(self.i.valid), kept.eq(given.tag)]
            for n in range(self.hw.word):
                weighted = given.data[n][:20].as_signed() * given.tag.weight
                m.d.sync += results[n].eq(Mux(given.tag.dest == Dest.COMBINE,
                                              (weighted + (1 << 17)) >> 18, given.data[n]))

        return m
