"""A gate logit to a 15-bit power of two relative to the largest.

Three registers::

    logit ──► × multiplier ──►│──► round, sat16 ──►│──► max − t ──► 2^−x ──►│──► power
"""

from amaranth import Array, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import SCORE, SHIFTS
from deltamoe.golden.tables import EXP2_15BIT
from deltamoe.rtl import cycles
from deltamoe.rtl.record import Record


class GateExponential(cycles.GateExponential, wiring.Component):
    """Scale logits to 1/256 octaves and exponentiate their distance to the first one.

    Members
    -------
    valid, leads, logit : ``In``
        A logit; the one that ``leads`` is the maximum, is kept and gives no power.
    multiplier, shift : ``In``
        Scale, stable.
    done, power : ``Out``
        A power, ``LATENCY`` cycles after its logit.

    Timing
    ------
    One logit a cycle, three cycles of latency.
    """

    record = Record(twin="arithmetic.gate")

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({
            "valid": In(1), "leads": In(1), "logit": In(signed(width)),
            "multiplier": In(16), "shift": In(2), "done": Out(1), "power": Out(15),
        })

    def elaborate(self, platform):
        m = Module()
        product, halves = Signal(signed(self.width + 16)), Signal(signed(self.width + 4))
        t, highest = Signal(signed(16)), Signal(signed(16))
        valid, leads = Signal(2), Signal(2)
        distance, entry, octave = Signal(17), Signal(15), Signal(9)

        with m.Switch(self.shift):
            for code, places in enumerate(SHIFTS):
                with m.Case(code):
                    m.d.comb += halves.eq(product >> (places - 1))
        rounded = (halves + 1) >> 1
        table = Array(Const(value, 15) for value in EXP2_15BIT)
        m.d.comb += [
            distance.eq(highest - t), octave.eq(distance >> 8), entry.eq(table[distance[:8]]),
        ]
        power = Signal(15)
        with m.Switch(octave):
            with m.Case(0):
                m.d.comb += power.eq(entry)
            for bits in range(1, 17):
                with m.Case(bits):
                    m.d.comb += power.eq((entry + (1 << (bits - 1))) >> bits)
        m.d.sync += [
            product.eq(self.logit * self.multiplier),
            t.eq(Mux(rounded > SCORE.highest, SCORE.highest,
                     Mux(rounded < SCORE.lowest, SCORE.lowest, rounded))),
            valid.eq((valid << 1) | self.valid), leads.eq((leads << 1) | self.leads),
            self.power.eq(power), self.done.eq(valid[1] & ~leads[1]),
        ]
        with m.If(valid[1] & leads[1]):
            m.d.sync += highest.eq(t)

        return m
