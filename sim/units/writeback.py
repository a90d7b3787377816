"""The units behind the drain: when a word is where it goes, and when its operator is written.

A word selected @ ``b`` enters in ``b + Drain.latency(hw)`` and reaches its memory
``Writeback.LATENCY`` cycles later, behind the registers of requantization, table and combination.
It counts as written ``Residual.LATENCY`` after that, whatever it is, since the residual stream
takes so long to show a word that it adds: together ``Writeback.DONE``. A row that is written @
``d`` is one of the retirement's ``rows`` from ``d + 1`` on.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Drain, Writeback
from deltamoe.sim.items import Item


class Sink:
    """What happens behind the drain; overridden by destination.

    ``freed`` are the cycles in which credits were given back, of ``credits`` for rows of scores or
    tokens; ``rows`` those from which rows count; ``end`` that in which the last word counts as
    written, ``ended`` that of the last key or route of an operator that is deferred.
    """

    credits: int | None = None

    def __init__(self) -> None:
        self.freed: list[int] = []
        self.rows: list[int] = []
        self.end = 0
        self.ended: int | None = None

    def room(self, opened: int) -> int:
        """Cycle from which the drain may open row or token number ``opened``."""
        if self.credits is None or opened < self.credits:
            return 0
        return self.freed[opened - self.credits] + 1

    def take(self, item: Item, end: int) -> None:
        """Note that ``item``'s last word was drained in ``end``."""
        raise NotImplementedError


class Memories(Sink):
    """Memories that words are written to as they come; rows count once they are there."""

    def __init__(self, hw: HwConfig) -> None:
        super().__init__()
        self.written = Drain.latency(hw) + Writeback.LATENCY
        self.done = Drain.latency(hw) + Writeback.DONE

    def take(self, item: Item, end: int) -> None:
        self.end = end + self.done
        if item.closes:
            self.rows.append(self.end + 1)
