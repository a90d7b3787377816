"""LayerNorm: when a row leaves.

A row whose last word enters @ ``t`` is ``full``, with its sums, in ``t + summed(hw)``: the word's
squares pass a register, their sum as many as it has adders behind each other, four terms each, and
the row's sums are the last. Then its scale takes ``SCALAR`` cycles:
three registers before the reciprocal square root, which has its own. They begin in the cycle after
the scale of the row before was taken, at the earliest; ``step`` waits at ``SCALAR`` until that row
is being read for the last time, and the scale is ``taken`` in that very cycle. The row is read from
the next one on, for two cycles a word, as half a word passes the lanes at a time. A word is on
``o`` ``NormalizeLane.LATENCY + 1`` cycles after its last read: the memory, and the lanes. So
``latency(hw)`` is ``summed(hw) + SCALAR``, the two reads of the first word, and these.

``ROWS`` rows are held: one has room in the cycle after the last read of the row ``ROWS`` before it.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import LayerNorm, NormalizeLane

LEAVES = NormalizeLane.LATENCY + 1
"""Cycles from a word's last read to ``o``."""


class Rows:
    """Rows of ``words`` words, one behind the other; ``read`` are the cycles of last reads."""

    def __init__(self, hw: HwConfig, words: int) -> None:
        self.summed, self.words, self.read = LayerNorm.summed(hw), words, []
        self.taken = -1

    def room(self) -> int:
        """Return the cycle from which the next row may enter."""
        return self.read[-LayerNorm.ROWS] + 1 if len(self.read) >= LayerNorm.ROWS else 0

    def normalize(self, last: int) -> int:
        """Return when the last word leaves of the row whose last one enters in ``last``."""
        summed = max(last + self.summed, self.taken + 1)
        self.taken = max(summed + LayerNorm.SCALAR, self.read[-1] if self.read else 0)
        self.read.append(self.taken + 2 * self.words)
        return self.read[-1] + LEAVES
