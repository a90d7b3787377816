"""Ports that several units use: the cycles in which each is taken."""

from bisect import bisect_left


class Busy:
    """Cycles in which a port is taken, noted in ascending order."""

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Note that it is taken from ``first`` to ``last``."""
        if self.lasts and first <= self.lasts[-1] + 1:
            self.lasts[-1] = max(last, self.lasts[-1])
        else:
            self.firsts.append(first)
            self.lasts.append(last)

    def free(self, cycle: int) -> int:
        """Return the first cycle from ``cycle`` on in which it is not."""
        place = bisect_left(self.lasts, cycle)
        if place < len(self.lasts) and self.firsts[place] <= cycle:
            return self.lasts[place] + 1
        return cycle
