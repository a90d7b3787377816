"""The residual stream: when its read port is taken.

A word that is added enters ``Writeback.LATENCY`` cycles behind the drain's ``o``, and is read in
that very cycle, for which nobody else is granted the port. Words of an item follow each other.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.sim.items import Item
from deltamoe.sim.units.writeback import Memories


class Residual(Memories):
    """The residual stream; ``adds`` are the cycles, first and last, in which words are added."""

    def __init__(self, hw: HwConfig, adds: list[tuple[int, int]]) -> None:
        super().__init__(hw)
        self.adds = adds

    def take(self, item: Item, end: int) -> None:
        super().take(item, end)
        last = end + self.written
        self.adds.append((last - item.drained + 1, last))
