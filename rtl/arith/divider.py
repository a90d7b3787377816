"""Pipelined restoring division with a 16-bit quotient, one bit a stage."""

from amaranth import Cat, Module, Mux, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.cycles import QUOTIENT
from deltamoe.rtl.record import Record


def fraction(tag: ShapeLike) -> data.StructLayout:
    """What is divided, and what travels with it."""
    return data.StructLayout({"numerator": 40, "denominator": 24, "tag": tag})


def quotient(tag: ShapeLike) -> data.StructLayout:
    """A result and what traveled with it."""
    return data.StructLayout({"value": QUOTIENT, "tag": tag})


class Divider(cycles.Divider, wiring.Component):
    """Compute ``min(65535, numerator // denominator)``.

    Parameters
    ----------
    tag : ShapeLike
        What travels with each division.

    Members
    -------
    i : ``In(stream.Signature(fraction(tag)))``
        Denominator above zero.
    o : ``Out(stream.Signature(quotient(tag)))``
        Quotients in order.

    Timing
    ------
    One division a cycle, ``LATENCY`` cycles from ``i`` to ``o``. A stall holds all stages. Whether
    the divisor fits is the borrow of the subtraction: a comparison beside it took LUTs 6 levels
    deep on ``zcu102``, the borrow is a carry. The softmax needs a result every 13 cycles for 129
    tokens; a serial unit gives one in 18.
    """

    record = Record(twin="arithmetic.softmax", combinational={
        "i.ready": ("o.ready",),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, tag: ShapeLike) -> None:
        self.tag = tag
        super().__init__({
            "i": In(stream.Signature(fraction(tag))), "o": Out(stream.Signature(quotient(tag))),
        })

    def elaborate(self, platform):
        m = Module()
        enable, valid = Signal(), Signal(self.LATENCY)
        fraction = self.i.p
        m.d.comb += [enable.eq(self.o.ready | ~self.o.valid), self.i.ready.eq(enable),
                     self.o.valid.eq(valid[-1])]
        rest, bits, divisor, tag = (fraction.numerator[QUOTIENT:], fraction.numerator[:QUOTIENT],
                                    fraction.denominator, fraction.tag)
        saturated = 0
        with m.If(enable):
            m.d.sync += valid.eq((valid << 1) | self.i.valid)
        for stage in range(self.LATENCY):
            registers = [Signal(shape, name=f"{name}_{stage}", reset_less=True) for name, shape in (
                ("rest", 24), ("bits", QUOTIENT), ("divisor", 24), ("saturated", 1),
                ("tag", self.tag))]
            if stage == 1:
                saturated = ~(rest - divisor)[-1]
            if stage:
                shifted = Cat(bits[-1], rest)
                less = shifted - divisor
                fits = ~less[-1]
                rest, bits = Mux(fits, less, shifted), Cat(fits, bits[:-1])
            with m.If(enable):
                m.d.sync += [registers[0].eq(rest), registers[1].eq(bits), registers[2].eq(divisor),
                             registers[3].eq(saturated), registers[4].eq(tag)]
            rest, bits, divisor, saturated, tag = registers
        m.d.comb += [self.o.p.value.eq(Mux(saturated, 0xFFFF, bits)), self.o.p.tag.eq(tag)]

        return m
