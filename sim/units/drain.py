"""The drain: when an item's words are selected.

The record of an item that was accepted @ ``c`` is at the head of the queue of records in the cycle
after it at the earliest, ``Fifo.timing.latency``, and goes through two registers behind that, so it
is the oldest from ``c + Drain.VISIBLE`` on; or from the cycle after the last word of the item
before, if it was in the first register by then. Which operator may be drained comes from a register
too, ``Drain.START``. The record waits until the sums are complete, ``Worker.LATENCY`` cycles after
the item's last event was popped in its last group, and, if it opens a row of scores or a token,
until the softmax or the gate has room: credits come back with the cycle after ``freed``. Then it
selects a word a cycle.

A word that is selected @ ``b`` is on ``o`` ``Drain.latency(hw)`` cycles later.
"""

from deltamoe.rtl import cycles
from deltamoe.rtl.cycles import Worker
from deltamoe.sim.items import Item
from deltamoe.sim.units.writeback import Sink


class Drain:
    """The drain over a whole program; counts why it waits in ``counters``."""

    def __init__(self, counters: dict[str, int]) -> None:
        self.counters = counters
        self.free = self.opened = 0

    def begin(self, start: int) -> None:
        """Begin an operator that starts in ``start``."""
        self.free = max(self.free, start + cycles.Drain.START)
        self.opened = 0

    def select(self, item: Item, accepted: int, popped: int, sink: Sink) -> tuple[int, int]:
        """Return when the first and the last word of an item are selected."""
        count = self.counters
        visible = max(self.free, accepted + cycles.Drain.VISIBLE)
        begun = max(visible, popped + Worker.LATENCY)
        count["drain_starved"] += begun - visible
        if item.opens:
            room = sink.room(self.opened)
            self.opened += 1
            if room > begun:
                count["drain_credit"] += room - begun
                begun = room
        end = begun + item.drained - 1
        count["drain_busy"] += item.drained
        self.free = end + 1
        return begun, end
