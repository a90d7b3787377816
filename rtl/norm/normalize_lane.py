"""One element of a normalized row.

::

    x ──► × dim ──►│──► − sum ──►│──► × m ──►│──► round ──►│──► × gain + bias ──►│──┐
                                                             y │◄── round, sat8 ◄──│◄── >> ◄─┘
"""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import ACTIVATION, NORM_FRACTION
from deltamoe.rtl import cycles
from deltamoe.rtl.record import Area, Record


class NormalizeLane(cycles.NormalizeLane, wiring.Component):
    """Normalize one element after the other, each with the scalars of its row.

    The part of :class:`deltamoe.rtl.norm.layer_norm.LayerNorm` that every element passes.

    Members
    -------
    enable : ``In(1)``
        Moves all registers.
    x, gain, bias : ``In``
        The element and its channel's parameters.
    sum, multiplier, half_exponent : ``In``
        Scalars of the element's row, one, two and three enabled cycles after it.
    dim, gain_shift : ``In``
        Stable.
    y : ``Out(signed(8))``
        The result, ``LATENCY`` enabled cycles later.

    Timing
    ------
    One element a cycle. Rounding adds the half behind the shift, where few bits are left, and
    saturation compares what is not yet rounded.
    """

    record = Record(twin="arithmetic.layer_norm", area=Area(
        instances=lambda hw: hw.word // 2,
        multipliers=lambda hw: 4))

    def __init__(self) -> None:
        super().__init__({
            "enable": In(1), "x": In(signed(16)), "dim": In(12), "sum": In(signed(27)),
            "multiplier": In(16), "half_exponent": In(5), "gain": In(signed(16)),
            "bias": In(signed(32)), "gain_shift": In(4), "y": Out(signed(8)),
        })

    def elaborate(self, platform):
        m = Module()
        widened, centered, product = Signal(signed(28)), Signal(signed(34)), Signal(signed(50))
        z, scaled, halves = Signal(signed(20)), Signal(signed(40)), Signal(signed(29))
        lowest, highest = ACTIVATION.lowest, ACTIVATION.highest
        gains = [Signal(signed(16), name=f"gain_{n}") for n in range(4)]
        biases = [Signal(signed(32), name=f"bias_{n}") for n in range(4)]

        rounded = ((product[3:].as_signed() >> self.half_exponent) + 1) >> 1
        result = (halves[: ACTIVATION.bits + 1].as_signed() + 1) >> 1
        with m.If(self.enable):
            m.d.sync += [
                widened.eq(self.dim * self.x), centered.eq(widened - self.sum),
                product.eq(centered * self.multiplier), z.eq(rounded),
                gains[0].eq(self.gain), biases[0].eq(self.bias),
                scaled.eq(z * gains[-1] + biases[-1]),
                halves.eq(scaled >> (self.gain_shift + (NORM_FRACTION - 1))),
                self.y.eq(Mux(halves > 2 * highest, highest, Mux(
                    halves < 2 * lowest - 1, lowest, result))),
            ]
            for stage in range(3):
                m.d.sync += [gains[stage + 1].eq(gains[stage]),
                             biases[stage + 1].eq(biases[stage])]

        return m
