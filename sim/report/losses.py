"""Why multipliers stand still: every cycle of every group without a product, by cause.

A group is idle between the last event of one item and the first of the next. That gap is cut where
what the next item waited for changes, so the parts of all gaps, of all groups, add up: products
made and products lost are ``cycles * groups * lanes``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from deltamoe.rtl.config import HwConfig

CAUSES: Mapping[str, str] = {
    "partial tiles": "lanes without a column, and sums of a part longer than those of another",
    "few events": "an operand's word had none, or an odd one ended a pair",
    "uneven": "the operator before had no item left for this group",
    "program": "the descriptor was being fetched and checked",
    "weights": "what the operator loads was not there",
    "operators": "operators that this one needs whole had not finished",
    "issue": "from the descriptor to its first item",
    "reading": "operands of other groups' items were being read",
    "layer norm": "the row was not normalized",
    "softmax": "the row of probabilities was not there",
    "rows": "the row of the operator before was not written",
    "queues": "the queues of the item's groups were full",
    "fill": "from the operand's memory to the multipliers",
    "drain": "sums of earlier items had not been drained",
    "end": "nothing left to multiply",
}
"""Causes and what they mean, in the order in which an item meets them."""


class Losses:
    """Products that could have been made and were not, by operator and cause.

    Parameters
    ----------
    hw : HwConfig
        Groups and lanes.
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.lost: dict[tuple[str, str], int] = defaultdict(int)
        self.name, self.behind = "", "rows"
        self.waits: list[tuple[int, str]] = []
        self.used, self.popped = False, 0

    def descriptor(self, *waits: tuple[int, str]) -> None:
        """Note the ascending cycles until which a descriptor waited, and for what.

        What descriptors without items waited for is what the next one's items wait for.
        """
        self.waits, self.used = [*([] if self.used else self.waits), *waits], False

    def operator(self, name: str, start: int, behind: str) -> None:
        """Begin an operator with items; ``behind`` makes the rows that they wait for."""
        self.name, self.behind, self.used = name, behind, True
        self.waits.append((start, "issue"))

    def item(self, free: int, met: int, accepted: int, arrival: int) -> None:
        """Begin an item: its source is free, its row there, its queue has room, it arrives."""
        self.until = (*self.waits, (free, "reading"), (met, self.behind), (accepted, "queues"),
                      (arrival, "fill"))

    def worked(self, before: int, first: int, last: int, events: int, groups: int) -> None:
        """Note that ``groups`` popped events from ``first`` to ``last``, the last in ``before``."""
        at = before + 1 if before > -1 else 0
        if first > at:
            for until, cause in (*self.until, (first, "drain")):
                if until > at:
                    until = min(until, first)
                    self.lost[self.name, cause] += (until - at) * self.hw.lanes * groups
                    at = until
        idle = last - first + 1 - events
        if idle:
            self.lost[self.name, "few events"] += idle * self.hw.lanes * groups
        self.popped += events * groups

    def macs(self, count: int) -> None:
        """Note the products of an item whose events have been popped."""
        self.lost[self.name, "partial tiles"] += self.popped * self.hw.lanes - count
        self.popped = 0

    def end(self, cycles: int, last: Sequence[int]) -> None:
        """End the program; ``last`` is every group's last event."""
        self.lost["end", "end"] += sum(cycles - max(0, pop + 1) for pop in last) * self.hw.lanes

    def by_cause(self) -> dict[str, float]:
        """Cycles of all multipliers, by cause."""
        cycles = dict.fromkeys(CAUSES, 0)
        for (_, cause), macs in self.lost.items():
            cycles[cause] += macs
        return {cause: macs / self.hw.mac_units for cause, macs in cycles.items()}

    def by_operator(self) -> dict[str, dict[str, float]]:
        """Cycles of all multipliers, by operator and cause; those that are not 0."""
        cycles: dict[str, dict[str, float]] = {}
        for (name, cause), macs in self.lost.items():
            if macs:
                cycles.setdefault(name, {})[cause] = macs / self.hw.mac_units
        return cycles
