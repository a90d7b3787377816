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


class Element(wiring.Signature):
    """An element and its channel's parameters.

    Members
    -------
    x, gain, bias : ``Out(signed(16))``, ``Out(signed(16))``, ``Out(signed(32))``
        The element, and what it is scaled and shifted by.
    """

    def __init__(self) -> None:
        super().__init__({"x": Out(signed(16)), "gain": Out(signed(16)), "bias": Out(signed(32))})


class Scalars(wiring.Signature):
    """What is the same for all elements of a row.

    Members
    -------
    sum, multiplier, half_exponent : ``Out(signed(27))``, ``Out(16)``, ``Out(5)``
        The row's, one, two and three enabled cycles after the element.
    dim, gain_shift : ``Out(12)``, ``Out(4)``
        Stable.
    """

    def __init__(self) -> None:
        super().__init__({"sum": Out(signed(27)), "multiplier": Out(16), "half_exponent": Out(5),
                          "dim": Out(12), "gain_shift": Out(4)})


class NormalizeLane(cycles.NormalizeLane, wiring.Component):
    """Normalize one element after the other, each with the scalars of its row.

    The part of :class:`deltamoe.rtl.norm.layer_norm.LayerNorm` that every element passes.

    Members
    -------
    enable : ``In(1)``
        Moves all registers.
    element, row : ``In(Element())``, ``In(Scalars())``
        The element, and what is the same for its row.
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
            "enable": In(1), "element": In(Element()), "row": In(Scalars()), "y": Out(signed(8)),
        })

    def elaborate(self, platform):
        m, element, row = Module(), self.element, self.row
        widened, centered, product = Signal(signed(28)), Signal(signed(34)), Signal(signed(50))
        z, scaled, halves = Signal(signed(20)), Signal(signed(40)), Signal(signed(29))
        lowest, highest = ACTIVATION.lowest, ACTIVATION.highest
        gains = [Signal(signed(16), name=f"gain_{n}") for n in range(4)]
        biases = [Signal(signed(32), name=f"bias_{n}") for n in range(4)]

        rounded = ((product[3:].as_signed() >> row.half_exponent) + 1) >> 1
        result = (halves[: ACTIVATION.bits + 1].as_signed() + 1) >> 1
        with m.If(self.enable):
            m.d.sync += [
                widened.eq(row.dim * element.x), centered.eq(widened - row.sum),
                product.eq(centered * row.multiplier), z.eq(rounded),
                gains[0].eq(element.gain), biases[0].eq(element.bias),
                scaled.eq(z * gains[-1] + biases[-1]),
                halves.eq(scaled >> (row.gain_shift + (NORM_FRACTION - 1))),
                self.y.eq(Mux(halves > 2 * highest, highest, Mux(
                    halves < 2 * lowest - 1, lowest, result))),
            ]
            for stage in range(3):
                m.d.sync += [gains[stage + 1].eq(gains[stage]),
                             biases[stage + 1].eq(biases[stage])]

        return m
