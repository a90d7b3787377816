"""The softmax: when a row of scores has become exponentials and their normalizer.

A row whose last word enters @ ``t`` is ``full`` from ``t + FOUND`` on: a register for the word's
maximum, one for the row's. It is read a word a cycle, from then on or behind the row before it. A
word is on ``o`` ``POWER`` cycles after it was read: the memory, the distance, the exponential. The
row is freed with its last word, and its normalizer is there ``DIVISION`` cycles later: a register
for the sum and the divider.
"""

from deltamoe.rtl.cycles import Softmax


class Rows:
    """Rows of ``words`` words, one behind the other."""

    def __init__(self, words: int) -> None:
        self.words, self.free = words, 0

    def power(self, last: int) -> int:
        """Return when the last word leaves of the row whose last one entered in ``last``."""
        self.free = max(last + Softmax.FOUND, self.free) + self.words
        return self.free - 1 + Softmax.POWER
