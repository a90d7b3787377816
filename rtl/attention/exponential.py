"""A score below its row's maximum to an 8-bit power of two."""

from amaranth import Array, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.tables import EXP2_8BIT
from deltamoe.rtl.record import Record


class Exponential(wiring.Component):
    """Compute ``round(256 * 2**(-d / 64))`` to eight bits from a table and a shift.

    With ``i = d >> 6`` and ``f = d & 63``: ``T[f]`` if ``i == 0``, else
    ``(T[f] + 2**(i-1)) >> i``, which is 0 from ``i = 10`` on.

    Members
    -------
    enable : ``In(1)``
        Moves the registers.
    distance : ``In(17)``
        ``d``, the maximum minus the score, in 1/64 octaves.
    e : ``Out(8)``
        The exponential, an enabled cycle later.

    Timing
    ------
    One register, between the table and the shift; ``e`` is shifted behind it.
    """

    record = Record(twin="arithmetic.softmax")

    def __init__(self) -> None:
        super().__init__({"enable": In(1), "distance": In(17), "e": Out(8)})

    def elaborate(self, platform):
        m = Module()
        entry, octave = Signal(8), Signal(11)
        with m.If(self.enable):
            m.d.sync += [
                entry.eq(Array(Const(value, 8) for value in EXP2_8BIT)[self.distance[:6]]),
                octave.eq(self.distance >> 6),
            ]
        with m.Switch(octave):
            with m.Case(0):
                m.d.comb += self.e.eq(entry)
            for shift in range(1, 10):
                with m.Case(shift):
                    m.d.comb += self.e.eq((entry + (1 << (shift - 1))) >> shift)

        return m
