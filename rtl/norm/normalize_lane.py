"""One element of a normalized row.

::

    x ──► dim·x − sum ──►│──► × m ──►│──► round ──►│──► × gain + bias ──►│──► round, sat8 ──►│ y
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
    x, sum, multiplier, half_exponent, gain, bias : ``In``
        The element, its row's scalars, its channel's parameters, all of the same cycle.
    dim, gain_shift : ``In``
        Stable.
    y : ``Out(signed(8))``
        The result, ``LATENCY`` enabled cycles later.

    Timing
    ------
    One element a cycle. Rounding adds the half behind the shift, where few bits are left.
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
        centered, product = Signal(signed(34)), Signal(signed(50))
        z, scaled = Signal(signed(20)), Signal(signed(40))
        multiplier = Signal(16)
        lowest, highest = ACTIVATION.lowest, ACTIVATION.highest
        halves = [Signal(5, name=f"half_exponent_{n}") for n in range(2)]
        gains = [Signal(signed(16), name=f"gain_{n}") for n in range(3)]
        biases = [Signal(signed(32), name=f"bias_{n}") for n in range(3)]

        rounded = ((product >> (3 + halves[1])) + 1) >> 1
        result = Signal(signed(28))
        m.d.comb += result.eq(((scaled >> (self.gain_shift + (NORM_FRACTION - 1))) + 1) >> 1)
        with m.If(self.enable):
            m.d.sync += [
                centered.eq(self.dim * self.x - self.sum), multiplier.eq(self.multiplier),
                product.eq(centered * multiplier), z.eq(rounded),
                halves[0].eq(self.half_exponent), halves[1].eq(halves[0]),
                gains[0].eq(self.gain), biases[0].eq(self.bias),
                scaled.eq(z * gains[2] + biases[2]),
                self.y.eq(Mux(result > highest, highest, Mux(result < lowest, lowest, result))),
            ]
            for stage in range(2):
                m.d.sync += [gains[stage + 1].eq(gains[stage]),
                             biases[stage + 1].eq(biases[stage])]

        return m
