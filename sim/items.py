"""What goes through the datapath's model: items, and where they run."""

from dataclasses import dataclass
from typing import NamedTuple


class Item(NamedTuple):
    """One item: events of each of its reads by part of the sum, columns, drained words.

    If all parts have the same events, they are given once; ``words`` is how often it reads one or
    several.
    ``steady`` is the events of a part if they come without a gap, else 0. ``needs`` names the row
    it waits for; ``group_set`` the groups it is for; ``opens`` the credit its drain takes (row of
    scores or token of the gate); ``closes`` that it ends a row; ``known`` that what an operator
    keeps holds something for its row.
    """

    events: tuple[tuple[int, ...], ...]
    words: int
    sent: int
    steady: int
    elements: int
    columns: int
    drained: int
    needs: int | None = None
    group_set: int = 0
    opens: bool = False
    closes: bool = False
    known: bool = True


@dataclass(frozen=True)
class Place:
    """Groups of an operator's items: sizes of gang, span and set, parts of the sum."""

    gang: int
    parts: int
    set_size: int

    @property
    def span(self) -> int:
        """Groups that work on one item."""
        return self.gang * self.parts


class Kept(NamedTuple):
    """Whether an operator adds to kept sums, reads references, and moves them as rows close."""

    adds: bool = False
    recalls: bool = False
    updates: bool = False


NOTHING = Kept()
