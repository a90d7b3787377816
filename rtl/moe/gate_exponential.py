"""A gate logit to a 15-bit power of two relative to the largest.

Eight registers::

    logit ──►│──► × multiplier ──►│──► >> ──►│──► round ──►│──► sat16, max − t ──►│──┐
              ┌─────────────────────────────────────────────────────────────────────┘
              └──► 2^−x ──►│──► >> low bits of octave ──►│──► >> other bits ──►│──► power
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
    One logit a cycle, ``LATENCY`` registers one behind the other. The largest logit is ``SCALED``
    registers behind its input.
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
        logit = Signal.like(self.logit)
        product = Signal(signed(self.width + 16))
        halves = Signal(signed(self.width + 4))
        t, highest, low = (Signal(signed(16), name=name) for name in ("t", "highest", "low"))
        above = Signal()
        below = Signal()
        valid, leads = Signal(self.LATENCY), Signal(self.SCALED)
        distance = Signal(17)
        octave = Signal(9)
        power, octaves = Signal(15), Signal(9)
        coarse = Signal(7)
        halved = Signal(16)

        with m.Switch(self.shift):
            for code, places in enumerate(SHIFTS):
                with m.Case(code):
                    m.d.sync += halves.eq(product >> (places - 1))
        rounded = (halves[: len(t) + 1] + 1) >> 1
        table = Array(Const(value, 15) for value in EXP2_15BIT)
        m.d.comb += t.eq(Mux(above, SCORE.highest, Mux(below, SCORE.lowest, low)))
        m.d.comb += [octave.eq(distance >> 8), self.done.eq(valid[-1])]
        with m.Switch(coarse):
            for places in range(0, len(halved), 4):
                with m.Case(places // 4):
                    m.d.sync += self.power.eq(((halved >> places) + 1) >> 1)
            with m.Default():
                m.d.sync += self.power.eq(0)
        m.d.sync += [
            logit.eq(self.logit), product.eq(logit * self.multiplier),
            low.eq(rounded), above.eq(halves > 2 * SCORE.highest),
            below.eq(halves < 2 * SCORE.lowest - 1),
            distance.eq(highest - t), power.eq(table[distance[:8]]), octaves.eq(octave),
            coarse.eq(octaves[2:]), halved.eq((power << 1) >> octaves[:2]),
            leads.eq((leads << 1) | (self.valid & self.leads)),
            valid.eq((valid << 1) | (self.valid & ~self.leads)),
        ]
        with m.If(leads[-1]):
            m.d.sync += highest.eq(t)

        return m
