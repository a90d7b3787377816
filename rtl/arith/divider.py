"""Serial restoring division with a 16-bit quotient."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

QUOTIENT = 16
FRACTION = data.StructLayout({"numerator": 40, "denominator": 24})
"""What is divided."""


class Divider(wiring.Component):
    """Compute ``min(65535, numerator // denominator)``, one bit a cycle.

    Members
    -------
    i : ``In(stream.Signature(FRACTION))``
        Denominator above zero.
    o : ``Out(stream.Signature(16))``
        Quotient.

    Timing
    ------
    ``LATENCY`` cycles from ``i`` to ``o``; the next division may enter once ``o`` is taken.
    """

    LATENCY = QUOTIENT + 1

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({
            "i": In(stream.Signature(FRACTION)), "o": Out(stream.Signature(QUOTIENT)),
        })

    def elaborate(self, platform):
        m = Module()
        rest, divisor = Signal(41), Signal(40)
        left = Signal(range(QUOTIENT + 1))
        fits, saturated = Signal(), Signal()
        quotient = Signal(QUOTIENT)

        m.d.comb += [
            self.i.ready.eq((left == 0) & ~self.o.valid), fits.eq(rest >= divisor),
            self.o.payload.eq(Mux(saturated, 0xFFFF, quotient)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                rest.eq(self.i.p.numerator), divisor.eq(self.i.p.denominator << (QUOTIENT - 1)),
                saturated.eq((self.i.p.numerator >> QUOTIENT) >= self.i.p.denominator),
                left.eq(QUOTIENT),
            ]
        with m.Elif(left != 0):
            m.d.sync += [
                quotient.eq((quotient << 1) | fits), divisor.eq(divisor >> 1),
                rest.eq(Mux(fits, rest - divisor, rest)), left.eq(left - 1),
                self.o.valid.eq(left == 1),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        return m
