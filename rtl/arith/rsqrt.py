"""Reciprocal square root of a 52-bit integer: normalize, table, one Newton step."""

from amaranth import Array, Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.tables import RSQRT
from deltamoe.rtl import cycles
from deltamoe.rtl.record import Record

WIDTH = 52


class Rsqrt(cycles.Rsqrt, wiring.Component):
    """Compute ``m ~ 2**16 / sqrt(v / 2**e)`` with ``e`` the even part of ``log2 v``.

    ``e = floor(log2 value)`` rounded down to even; ``v = value * 2**(30 - e)`` truncated;
    ``y = T[v >> 25]``; ``a = ((v >> 14) * y) >> 16``; ``a = (a * y) >> 16``;
    ``m = (y * ((3 << 16) - a) + 2**16) >> 17``, which is below 65535 for every ``v``.

    Members
    -------
    value : ``In(52)``
        Above zero, stable for ``LATENCY`` cycles.
    multiplier, half_exponent : ``Out(16)``, ``Out(5)``
        ``m`` and ``e / 2``.

    Timing
    ------
    Four registers; the results hold while ``value`` does.
    """

    record = Record(twin="arithmetic.layer_norm")

    def __init__(self) -> None:
        super().__init__({"value": In(WIDTH), "multiplier": Out(16), "half_exponent": Out(5)})

    def elaborate(self, platform):
        m = Module()
        v, half = Signal(32), Signal(5)
        y, first, factor = Signal(16), Signal(18), Signal(18)

        for n in range(WIDTH // 2):
            with m.If(self.value[2 * n : 2 * n + 2].any()):
                m.d.comb += half.eq(n)
        aligned = Cat(Const(0, 30), self.value) >> (half << 1)
        table = Array([Const(0, 16)] * 32 + [Const(entry, 16) for entry in RSQRT])
        entry = Signal(16)
        m.d.comb += entry.eq(table[v[25:32]])
        m.d.sync += [
            v.eq(aligned), self.half_exponent.eq(half), y.eq(entry),
            first.eq(((v >> 14) * entry) >> 16), factor.eq((3 << 16) - ((first * y) >> 16)),
            self.multiplier.eq((y * factor + (1 << 16)) >> 17),
        ]

        return m
