"""The probabilities: when a row may be multiplied with the values.

A row counts in the cycle after its division began, ``Softmax.summed`` cycles after its last
exponential, since ``rows`` is a register.
"""

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.items import Item
from deltamoe.sim.units import softmax
from deltamoe.sim.units.writeback import Memories


class Attention(Memories):
    """The softmax behind the scores; the activation memory behind the values.

    ``ready`` are the cycles from which rows of scores may be read. Only items of values wait for
    a row.
    """

    credits = cycles.Softmax.ROWS

    def __init__(self, hw: HwConfig, words: int) -> None:
        super().__init__(hw)
        self.summed = cycles.Softmax.summed(hw)
        self.softmax = softmax.Rows(hw, words)
        self.ready: list[int] = []

    def take(self, item: Item, end: int) -> None:
        if item.needs is not None:
            super().take(item, end)
        elif item.closes:
            last = self.softmax.power(end + self.written)
            self.freed.append(last)
            self.ready.append(last + self.summed + 1)
