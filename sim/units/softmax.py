"""The softmax: when a row of scores has become exponentials and their normalizer.

A row whose last word enters @ ``t`` is ``full`` from ``t + found(hw)`` on: a register for each
comparison of the word's maximum, one for the row's. It is read a word a cycle, from then on or
behind the row before it. A word is on ``o`` ``POWER`` cycles after it was read: the memory, the
distance, the table's entry, the shift. The row is freed with its last word, and its normalizer is
there ``division(hw)`` cycles later: registers for the sum of the word, those of the row and the
numerator, and the divider.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Softmax


class Rows:
    """Rows of ``words`` words, one behind the other."""

    def __init__(self, hw: HwConfig, words: int) -> None:
        self.hw, self.words, self.free = hw, words, 0

    def power(self, last: int) -> int:
        """Return when the last word leaves of the row whose last one entered in ``last``."""
        self.free = max(last + Softmax.found(self.hw), self.free) + self.words
        return self.free - 1 + Softmax.POWER
