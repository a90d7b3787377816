"""Reciprocal square root of a 52-bit integer: normalize, table, one Newton step."""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.tables import RSQRT
from deltamoe.rtl import cycles
from deltamoe.rtl.record import Record

WIDTH = 52

RECIPROCAL = data.StructLayout({"multiplier": 16, "half_exponent": 5})
"""What a row is scaled by: ``multiplier / 2**(16 + half_exponent)``."""


def highest(bits: list[Value]) -> Value:
    """Return the number of the highest bit that is set, 0 if none is, from halves of halves."""
    half = 1 << (len(bits) - 1).bit_length() >> 1
    if not half:
        return Const(0, 0)
    upper = Cat(bits[half:]).any()
    place = Mux(upper, highest(bits[half:]), highest(bits[:half]))
    return Cat(place[: half.bit_length() - 1], upper)


class Rsqrt(cycles.Rsqrt, wiring.Component):
    """Compute ``m ~ 2**16 / sqrt(v / 2**e)`` with ``e`` the even part of ``log2 v``.

    ``e = floor(log2 value)`` rounded down to even; ``v = value * 2**(30 - e)`` truncated;
    ``y = T[v >> 25]``; ``a = ((v >> 14) * y) >> 16``; ``a = (a * y) >> 16``;
    ``m = (y * ((3 << 16) - a) + 2**16) >> 17``, which is below 65535 for every ``v``.

    Members
    -------
    value : ``In(52)``
        Above zero, stable for ``LATENCY`` cycles.
    reciprocal : ``Out(RECIPROCAL)``
        ``m`` and ``e / 2``.

    Timing
    ------
    Five registers; the results hold while ``value`` does.
    """

    record = Record(twin="arithmetic.layer_norm")

    def __init__(self) -> None:
        super().__init__({"value": In(WIDTH), "reciprocal": Out(RECIPROCAL)})

    def elaborate(self, platform):
        m = Module()
        v, half = Signal(32), self.reciprocal.half_exponent
        y, first, factor = Signal(16), Signal(18), Signal(18)

        pairs = [self.value[2 * n : 2 * n + 2].any() for n in range(WIDTH // 2)]
        aligned = Cat(Const(0, 30), self.value) >> (half << 1)
        table = Array([Const(0, 16)] * 32 + [Const(entry, 16) for entry in RSQRT])
        entry = Signal(16)
        m.d.comb += entry.eq(table[v[25:32]])
        m.d.sync += [
            half.eq(highest(pairs)), v.eq(aligned), y.eq(entry),
            first.eq(((v >> 14) * entry) >> 16), factor.eq((3 << 16) - ((first * y) >> 16)),
            self.reciprocal.multiplier.eq((y * factor + (1 << 16)) >> 17),
        ]

        return m
