"""The gate: tokens are ranked, exponentiated and divided one behind the other.

With ``n = Gate.steps(num_experts)``, a token whose last word enters @ ``t``::

    ranked  t + FETCHED .. + n - 1   full @ t + 1, its first logits fetched by the edge behind it;
                                     or from the cycle after the token before was sent on
    sends   s                        at the earliest behind the last of these; once the token before
                                     has left (``left == 0``, max(n, top_k) cycles behind ``s + 1``)
                                     and a route of the token ``ROUTED`` before has been taken
    reads   s + 1 .. s + n           its logits again; ``freed`` with the last
    routes  .. s + n + LATENCY + top_k   three registers of the exponential, one more for the sum's,
                                     from the cycle after that a division a cycle, and the queue

``LATENCY`` is that of the exponential, the divider and the queue; the register of the sum is the
cycle between ``s + n`` and the first of ``top_k`` divisions, of which the last is meant.
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
