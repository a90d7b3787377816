"""The corner turn: a block of tokens leaves once it is complete.

A block whose last word enters @ ``t`` is ``full`` from ``t + 1`` on and has its first dimension on
``o`` in ``t + CornerTurn.LATENCY``, or behind the block before it; then one a cycle, as many as
there are columns. The operator has ended once the last is written, ``KvWriter.LATENCY`` later.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import CornerTurn, KvWriter
from deltamoe.sim.items import Item
from deltamoe.sim.units.writeback import Memories


class Keys(Memories):
    """Keys of ``rows`` tokens and ``columns`` dimensions."""

    def __init__(self, hw: HwConfig, columns: int, rows: int) -> None:
        super().__init__(hw)
        self.word, self.columns, self.left = hw.word, columns, rows
        self.tokens = self.leaves = 0

    def take(self, item: Item, end: int) -> None:
        self.end = end + self.done
        if not item.closes:
            return
        self.tokens += 1
        self.left -= 1
        if self.tokens % self.word == 0 or not self.left:
            first = max(end + self.written + CornerTurn.LATENCY, self.leaves + 1)
            self.leaves = first + self.columns - 1
            self.ended = self.leaves + KvWriter.LATENCY
