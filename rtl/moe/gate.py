"""A token's gate logits to its experts and their weights.

::

    i ──► logits ──► SCAN: top k ──► EXP: scale, 2^−x, sum ──► DIVIDE (k times) ──► o
"""

from amaranth import Array, Module, Mux, Signal, signed
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.arith.divider import Divider
from rtl.config import HwConfig
from rtl.formats import ROUTE, beat
from rtl.moe.gate_exponential import GateExponential
from rtl.moe.top_k import TopK


class State(enum.Enum, shape=2):
    """What the gate does with the token."""

    COLLECT = 0
    SCAN = 1
    EXP = 2
    DIVIDE = 3


class Gate(wiring.Component):
    """Softmax over all experts, then the ``top_k`` largest, not renormalized.

    Columns ``2e`` and ``2e + 1`` are the high and low planes of expert ``e``'s 16-bit weights:
    ``logit = 256 * high + low``. Ranking uses the raw logits, ties go to the lower index.
    ``t = sat16(rhu(logit * multiplier, 14 + 4 * shift))`` in 1/256 octaves,
    ``E = round(2**15 * 2**(-(max - t) / 256))``, ``l = sum E`` over all experts, and
    ``weight = min(65535, floor(E * 2**16 / l + 1/2))``. :func:`golden.gate.gate` is its reference.

    Members
    -------
    i : ``In(stream.Signature(beat(signed(hw.acc_width), hw.word)))``
        Planes; ``last`` ends a token. Refused while a token is being ranked.
    o : ``Out(stream.Signature(ROUTE))``
        ``top_k`` routes a token in descending order; ``last`` ends the token.
    num_experts, top_k, multiplier, shift : ``In``
        Stable while tokens are in flight.

    Timing
    ------
    The last of ``k`` routes leaves ``cycles(num_experts, k)`` cycles after the token's last word.
    """

    i: stream.Interface
    o: stream.Interface

    @staticmethod
    def cycles(num_experts: int, top_k: int) -> int:
        """Cycles from a token's last word to its last route."""
        exponentials = num_experts + 2 + GateExponential.LATENCY
        return num_experts + exponentials + top_k * (Divider.LATENCY + 1)

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(beat(signed(hw.acc_width), hw.word))),
            "o": Out(stream.Signature(ROUTE)),
            "num_experts": In(8), "top_k": In(4), "multiplier": In(16), "shift": In(2),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        width = hw.acc_width + 8
        m.submodules.ranking = ranking = TopK(hw.max_top_k, width)
        m.submodules.exponential = exponential = GateExponential(width)
        state, index = Signal(State), Signal(8)
        logits = Array(Signal(signed(width), name=f"logit_{n}") for n in range(hw.max_experts))

        m.d.comb += [
            self.i.ready.eq(state == State.COLLECT),
            ranking.value.eq(logits[index]), ranking.index.eq(index),
            ranking.enable.eq(state == State.SCAN),
            exponential.multiplier.eq(self.multiplier), exponential.shift.eq(self.shift),
        ]
        with m.If(self.i.valid & self.i.ready):
            for n in range(hw.word // 2):
                m.d.sync += logits[index + n].eq(
                    (self.i.p.data[2 * n] << 8) + self.i.p.data[2 * n + 1])
            m.d.sync += index.eq(index + hw.word // 2)
            with m.If(self.i.p.last):
                m.d.comb += ranking.clear.eq(1)
                m.d.sync += [state.eq(State.SCAN), index.eq(0)]
        with m.If(state == State.SCAN):
            m.d.sync += index.eq(index + 1)
            with m.If(index + 1 == self.num_experts):
                m.d.sync += [state.eq(State.EXP), index.eq(0)]
        self.exponentiate(m, state, index, logits, ranking, exponential)

        return m

    def exponentiate(self, m: Module, state, index, logits, ranking, exponential):
        """Send the largest logit, then all of them; keep the winners' powers; divide."""
        m.submodules.divider = divider = Divider()
        winners = Array(Signal(15, name=f"power_{n}") for n in range(self.hw.max_top_k))
        opened, total, answered, rank = Signal(), Signal(23), Signal(9), Signal(4)
        sent = Signal()
        m.d.comb += [
            sent.eq((state == State.EXP) & (index < self.num_experts)),
            exponential.valid.eq(sent), exponential.leads.eq(~opened),
            exponential.logit.eq(logits[Mux(opened, index, ranking.indices[0])]),
        ]
        with m.If(sent):
            m.d.sync += [opened.eq(1), index.eq(Mux(opened, index + 1, index))]
        with m.If(exponential.done):
            m.d.sync += [total.eq(total + exponential.power), answered.eq(answered + 1)]
            for n in range(self.hw.max_top_k):
                with m.If(ranking.indices[n] == answered[:8]):
                    m.d.sync += winners[n].eq(exponential.power)
        with m.If((state == State.EXP) & (answered == self.num_experts)):
            m.d.sync += state.eq(State.DIVIDE)

        busy = Signal()
        m.d.comb += [
            divider.i.valid.eq((state == State.DIVIDE) & ~busy),
            divider.i.p.numerator.eq((winners[rank] << 17) + total),
            divider.i.p.denominator.eq(total << 1),
            self.o.valid.eq(divider.o.valid), divider.o.ready.eq(self.o.ready),
            self.o.p.expert.eq(Array(ranking.indices)[rank]),
            self.o.p.weight.eq(divider.o.payload), self.o.p.last.eq(rank + 1 == self.top_k),
        ]
        with m.If(divider.i.valid & divider.i.ready):
            m.d.sync += busy.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [busy.eq(0), rank.eq(rank + 1)]
            with m.If(self.o.p.last):
                m.d.sync += [state.eq(State.COLLECT), rank.eq(0), index.eq(0), opened.eq(0),
                             total.eq(0), answered.eq(0)]
