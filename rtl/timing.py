"""Cycles as numbers in code: what the tests assert and the simulator imports."""

from dataclasses import dataclass


class Depth(int):
    """A number that a unit states and that counts no cycles: what it has room for at a time."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Cycles of one pipelined unit that nothing stalls.

    Attributes
    ----------
    latency : int
        Cycles from a transfer on ``i`` to the same item on ``o``.
    interval : int
        Cycles between successive transfers on ``i``.
    """

    latency: int
    interval: int = 1

    def cycles(self, transfers: int) -> int:
        """Cycles from the first transfer on ``i`` to the last on ``o``, both included."""
        return self.latency + self.interval * (transfers - 1) + 1
