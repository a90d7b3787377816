"""Accumulator to activation: add the bias, scale, round half up, saturate.

Four registers::

    acc ──► + bias ──►│──► × multiplier ──►│──► >> shift, round ──►│──► saturate ──►│──► o
"""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import SHIFTS, UPDATE, WEIGHT
from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import RESULTS, requantized, scaled, tag
from deltamoe.rtl.record import Area, Record


class Requantize(cycles.Requantize, wiring.Component):
    """Scale a word of accumulators to a narrower signed integer.

    ``saturate(floor((acc + bias) * multiplier / 2**s + 1/2))`` with ``s = SHIFTS[shift]``;
    :func:`deltamoe.golden.arithmetic.requantize.requantize` is its reference. ``acc + bias`` must
    fit ``acc_width`` bits, which :mod:`deltamoe.rtl.compiler.sums` proves from the weights.

    Members
    -------
    i : ``In(stream.Signature(scaled(hw), always_ready=True))``
        Accumulators, parameters, width to saturate to.
    o : ``Out(stream.Signature(requantized(hw), always_ready=True))``
        Results with the tag of their word.

    Timing
    ------
    One word a cycle; nothing stalls.
    """

    record = Record(twin="arithmetic.requantize", area=Area(
        multipliers=lambda hw: hw.word,
        grows=lambda hw: (hw.word,)))

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(scaled(hw), always_ready=True)),
            "o": Out(stream.Signature(requantized(hw), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        sums = Signal(data.ArrayLayout(signed(hw.acc_width), hw.word), reset_less=True)
        factors = Signal(data.ArrayLayout(16, hw.word), reset_less=True)
        products = Signal(data.ArrayLayout(signed(hw.acc_width + 16), hw.word), reset_less=True)
        size = max(UPDATE.bits, hw.acc_width + 17 - SHIFTS[0])
        rounded = Signal(data.ArrayLayout(signed(size), hw.word), reset_less=True)
        shifts = [Signal(2, name=f"shift_{n}", reset_less=True) for n in range(2)]
        widths = [Signal(range(len(RESULTS)), name=f"width_{n}", reset_less=True) for n in range(3)]
        tags = [Signal(tag(hw), name=f"tag_{n}", reset_less=True) for n in range(3)]
        valid = Signal(3)

        m.d.sync += [
            valid.eq((valid << 1) | self.i.valid), self.o.valid.eq(valid[-1]),
            shifts[0].eq(self.i.p.shift), shifts[1].eq(shifts[0]),
            widths[0].eq(self.i.p.width), tags[0].eq(self.i.p.tag),
            *(later.eq(earlier) for stages in (widths, tags)
              for earlier, later in pairwise(stages)),
            self.o.p.tag.eq(tags[-1]), factors.eq(self.i.p.multiplier),
        ]
        for n in range(hw.word):
            m.d.sync += [
                sums[n].eq(self.i.p.acc[n] + self.i.p.bias[n]),
                products[n].eq(sums[n] * factors[n]),
                rounded[n].eq(self.rounded(m, products[n], shifts[1], n)),
                self.o.p.data[n].eq(self.narrow(m, rounded[n], widths[2], n)),
            ]

        return m

    @staticmethod
    def rounded(m: Module, product, shift, number: int):
        """Return the product shifted, halves rounded up."""
        halves = Signal(signed(len(product) - SHIFTS[0] + 1), name=f"halves_{number}")
        shifted = [product >> (places - 1) for places in SHIFTS]
        m.d.comb += halves.eq(Mux(shift[1], Mux(shift[0], shifted[3], shifted[2]),
                                  Mux(shift[0], shifted[1], shifted[0])))
        return (halves + 1) >> 1

    @staticmethod
    def narrow(m: Module, rounded, width, number: int):
        """Return what was rounded, saturated.

        A number is outside when a bit above those of ``largest`` differs from its sign; 127 is
        odd, so that -128 becomes -127 by the same bit that leaves 127 alone. The unit takes 3,463
        LUTs on ``zcu102``, and 6,658 with comparisons against the limits of each width.
        """
        bits = UPDATE.bits
        result = Signal(signed(bits), name=f"result_{number}")
        largest = Signal(bits - 1, name=f"largest_{number}")
        lowest_is_odd = Signal(name=f"lowest_is_odd_{number}")
        negative = rounded[-1]
        size = rounded.as_unsigned() ^ negative.replicate(len(rounded))
        outside = size[bits - 1 :].any() | (size[: bits - 1] & ~largest).any()

        with m.Switch(width):
            for code, kind in enumerate(RESULTS):
                with m.Case(code):
                    m.d.comb += [largest.eq(kind.highest), lowest_is_odd.eq(kind.symmetric)]
        limit = Cat(largest ^ negative.replicate(len(largest)), negative)
        m.d.comb += result.eq(Mux(outside, limit, rounded[:bits]))
        with m.If(lowest_is_odd & (outside | size[: WEIGHT.bits - 1].all())):
            m.d.comb += result[0].eq(1)

        return result
