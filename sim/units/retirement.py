"""The retirement: when an operator may be drained, and when it has finished.

An operator that was taken @ ``c`` is issued in ``c + ComputeExecutor.START``, enters the queue of
operators then and is at its head ``Fifo.timing.latency`` later at the earliest, or in the cycle
after the operator before it left; it ``started`` then, and its records may be drained. One to keys
or gate also waits for the end of the last such operator, until ``behind`` is clear: the cycle after
``ended``.

It leaves once it is written, but not while it is behind a deferred one. ``finished`` counts it in
the cycle after its end: after it left, or if it is deferred after its last key or route.
"""

from deltamoe.rtl import cycles

STARTS = cycles.ComputeExecutor.START + cycles.Fifo.timing.latency
"""Cycles from a descriptor's being taken to its operator's start."""


class Retirement:
    """Operators in order.

    ``left`` are the cycles in which they left, ``finished`` those from which they count as
    finished, ``ended`` the end of the last deferred one.
    """

    def __init__(self) -> None:
        self.left: list[int] = []
        self.finished: list[int] = []
        self.ended = -1

    def room(self) -> int:
        """Return the cycle from which there is room for another operator."""
        depth = cycles.Retirement.DEPTH
        return self.left[-depth] + 1 if len(self.left) >= depth else 0

    def start(self, accepted: int, *, defers: bool) -> int:
        """Return when the operator of a descriptor starts that was taken in ``accepted``."""
        return max(accepted + STARTS, self.left[-1] + 1 if self.left else 0,
                   self.ended + 1 if defers else 0)

    def retire(self, written: int, ended: int | None) -> int:
        """Note when an operator was written, and ended if it is deferred; return its end."""
        self.left.append(max(written, self.ended + 1))
        if ended is not None:
            self.ended = ended
        end = self.left[-1] if ended is None else ended
        self.finished.append(end + 1)
        return end
