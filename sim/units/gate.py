"""The gate: tokens are ranked, exponentiated and divided one behind the other.

A token whose last word enters @ ``t`` is ``full`` in ``t + 1``, and its first logits are fetched by
the edge behind that; so they are ranked from ``t + Gate.FETCHED`` on, or from the cycle after the
token before was sent, for ``n = Gate.steps(num_experts)`` cycles. With the next, ``ranked``, it is
sent on, @ ``s``, but not before

* the token before has been read and divided: ``left`` is set by its being sent to the larger of
  ``n`` and ``top_k``, and counts down from the cycle after that;
* the last route has been taken of the token ``ROUTED`` before: ``routed`` falls a cycle later.

Its logits are read again in cycles ``s + 1`` to ``s + n``; the last frees it. The exponential of
those takes ``GateExponential.LATENCY`` registers and their sum one, and from the next cycle on a
division is begun in each of ``top_k`` cycles. Behind the divider and the queue the last route
leaves in ``s + n + LATENCY + top_k``.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Drain, Gate
from deltamoe.sim.items import Item
from deltamoe.sim.units.writeback import Sink


class Tokens(Sink):
    """Tokens to ``top_k`` of ``num_experts`` experts."""

    credits = Gate.TOKENS

    def __init__(self, hw: HwConfig, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.latency = Drain.latency(hw)
        self.steps, self.top_k = Gate.steps(num_experts), top_k
        self.sent = self.free = self.ended = 0
        self.routed: list[int] = []

    def take(self, item: Item, end: int) -> None:
        self.end = end + self.latency
        if item.closes:
            ranked = max(self.end + Gate.FETCHED, self.sent + 1) + self.steps
            room = self.routed[-Gate.ROUTED] + 1 if len(self.routed) >= Gate.ROUTED else 0
            self.sent = max(ranked, self.free, room)
            self.free = self.sent + 1 + max(self.steps, self.top_k)
            self.freed.append(self.sent + self.steps)
            self.ended = self.sent + self.steps + Gate.LATENCY + self.top_k
            self.routed.append(self.ended)
