"""Two lanes: two products of one event, summed over a run of events.

::

    w1, w0 ──► pack ──►│──► × ──►│──► + ──►│──► high, low
    delta ────────────►│────┘         ▲────┘
"""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.record import Record

FIELD = 19
"""Bits of the lower sum within a packed one."""


class MacPair(wiring.Component):
    """Compute ``low = sum(delta * w0)`` and ``high = sum(delta * w1)`` over a run.

    Packed, both come from one multiplier of 27 x 18 bits: ``sum(delta * (w1 * 2**19 + w0))`` holds
    ``low`` in its lower 19 bits, and the rest is ``high`` less the sign of ``low`` (Xilinx WP487).
    That needs ``-127 <= w <= 127`` and ``|low| < 2**18``, so at most eight events a run. All three
    levels of registers are those of a DSP48E2: one before the multiplier on either side, one behind
    it, one behind the adder.

    Parameters
    ----------
    packed : bool
        One wide multiplier, else two small ones.

    Members
    -------
    w0, w1, delta : ``In(signed(8))``, ``In(signed(9))``
        Weights and the event of the same cycle.
    begin, valid : ``In(1)``
        Two cycles later: whether it is a run's first, and valid.
    low, high : ``Out(signed(20))``
        Sums up to the event whose weights came three cycles before.
    """

    record = Record(twin="arithmetic.linear")

    LATENCY = 3

    def __init__(self, *, packed: bool) -> None:
        self.packed = packed
        super().__init__({
            "w0": In(signed(8)), "w1": In(signed(8)), "delta": In(signed(9)),
            "begin": In(1), "valid": In(1), "low": Out(signed(20)), "high": Out(signed(20)),
        })

    def elaborate(self, platform):
        m = Module()
        event = Signal.like(self.delta, name="event", reset_less=True)
        m.d.sync += event.eq(self.delta)
        if self.packed:
            total = self.accumulate(m, "pair", Cat(Const(0, FIELD), self.w1).as_signed() + self.w0,
                                    event, signed(27), signed(48))
            m.d.comb += [self.low.eq(total[:FIELD].as_signed()),
                         self.high.eq(total[FIELD : FIELD + 20].as_signed() + total[FIELD - 1])]
        else:
            m.d.comb += [
                self.low.eq(self.accumulate(m, "low", self.w0, event, signed(8), signed(20))),
                self.high.eq(self.accumulate(m, "high", self.w1, event, signed(8), signed(20)))]

        return m

    def accumulate(self, m: Module, name: str, weight, event, narrow, wide):
        """Return the sum of a run of products."""
        factor, total = (Signal(shape, name=f"{part}_{name}", reset_less=True)
                         for part, shape in (("factor", narrow), ("total", wide)))
        exact = factor * event
        product = Signal(exact.shape(), name=f"product_{name}", reset_less=True)
        m.d.sync += [factor.eq(weight), product.eq(exact)]
        with m.If(self.valid):
            m.d.sync += total.eq(Mux(self.begin, 0, total) + product)
        return total
