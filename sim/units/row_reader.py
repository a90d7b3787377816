"""The row reader: when the rows to be normalized are read.

With ``start`` @ ``s``, ``running`` is set from ``s + 1`` on, and the first word is read then and is
on ``o`` in ``s + RowReader.LATENCY``, ``Residual.READ`` cycles behind its read; so a word is read
:data:`FIRST` cycles after ``start`` at the earliest. Then one follows in every cycle in which
nobody adds to the residual stream. A row begins only while none is under way to ``o`` or there, to
see whether the sink has room for all of it: that is in the cycle after the last word of the row
before was on ``o``, ``RowReader.BETWEEN`` after it was read::

    cycle     s      s+1    s+2    s+3    s+4    a row of two words, the next behind it
    start     yes
    reads            0      1      –      –      –      0      1
    o                                     0      1      –      –      –      0
"""

from bisect import bisect_left

from deltamoe.rtl.cycles import Residual, RowReader

FIRST = RowReader.LATENCY - Residual.READ
"""Cycles from ``start`` to the first read."""


class Reads:
    """Rows of ``words`` words, from ``start`` on; ``adds`` are the cycles of the port's others."""

    def __init__(self, start: int, words: int, adds: list[tuple[int, int]]) -> None:
        self.words, self.adds = words, adds
        self.next = start + FIRST
        self.position = bisect_left(adds, start, key=lambda add: add[1])

    def row(self, first: int) -> int:
        """Return the cycle of the last read of the next row, which may begin in ``first``."""
        adds, position, cycle, words = self.adds, self.position, max(first, self.next), self.words
        while words:
            while position < len(adds) and adds[position][1] < cycle:
                position += 1
            if position < len(adds) and adds[position][0] <= cycle:
                cycle = adds[position][1] + 1
                continue
            gap = adds[position][0] - cycle if position < len(adds) else words
            read = min(words, gap)
            words -= read
            cycle += read
        self.position, self.next = position, cycle - 1 + RowReader.BETWEEN
        return cycle - 1
