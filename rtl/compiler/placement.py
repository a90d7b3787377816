"""How a matrix is spread over the lane groups."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import NamedTuple

from deltamoe.rtl.config import HwConfig


@dataclass(frozen=True)
class Placement:
    """``gang`` groups side by side, ``2**split`` parts of the sum, ``passes`` over the columns.

    ``rows`` is the weight rows of one pass in every group; ``cycles`` what one row of operands
    costs if the groups never wait.
    """

    gang: int
    split: int
    passes: int
    rows: int
    cycles: float

    @property
    def span(self) -> int:
        """Groups that work on one item."""
        return self.gang << self.split

    def wide(self, depth: int, hw: HwConfig) -> bool:
        """Tell whether its parts can take words of a row of ``depth`` that are read together."""
        return hw.read_words > 1 and self.gang == hw.read_gang and (
            (1 << self.split) % hw.read_words == 0 == depth % (hw.read_words * hw.word))

    def fields(self, hw: HwConfig) -> dict[str, int]:
        """Return the descriptor's fields."""
        return {"gang": hw.gangs.index(self.gang), "split": self.split,
                "span": hw.gangs.index(self.span), "passes": self.passes}


def placements(depth: int, columns: int, hw: HwConfig) -> Iterator[Placement]:
    """All placements of a matrix of ``depth`` rows and ``columns`` columns."""
    words, tiles = -(-depth // hw.word), -(-columns // hw.lanes)
    for gang in hw.gangs:
        for split in hw.splits:
            if gang << split not in hw.gangs:
                continue
            passes, items = -(-tiles // gang), hw.groups // (gang << split)
            rows = words * (hw.word >> split)
            busy = max(rows, 2) / items
            yield Placement(gang, split, passes, rows,
                            passes * max(busy, words, -(-columns // hw.word) / passes))


SPARSE_SPLIT = 2
"""Largest split where events are few and their places random.

With 192 x 192 weights at density 25 % eight parts of a sum reach 78 % of the ideal speed, since an
item lasts as long as its longest part, four parts 92 %, and two 97 % but more weight rows.
"""


@cache
def place(depth: int, columns: int, hw: HwConfig, most: int | None = None, *,
          sparse: bool = False) -> Placement:
    """Return the placement that costs the fewest cycles, then weight rows, then passes.

    Spreading the sum over all groups stores no weight twice: 576 rows of twelve groups for an
    expert of M3ViT-tiny become 96 rows of 24 groups at the same cycles. If events are ``sparse``,
    the sum is split into at most ``2**SPARSE_SPLIT`` parts where that fits.

    Raises
    ------
    ValueError
        The weights need more than ``most`` rows, by default all that there are.
    """
    most = hw.weight_rows if most is None else most
    fitting = [p for p in placements(depth, columns, hw) if p.passes * p.rows <= most]
    if not fitting:
        least = min(p.passes * p.rows for p in placements(depth, columns, hw))
        raise ValueError(f"a layer of depth {depth} and {columns} columns needs {least} "
                         f"weight_rows, the hardware has {hw.weight_rows}")
    return min(fitting, key=lambda p: (sparse and max(0, p.split - SPARSE_SPLIT), p.cycles,
                                       p.passes * p.rows, p.passes))


@cache
def pieces_of(depth: int, columns: int, hw: HwConfig) -> list[range]:
    """Return the columns of each piece of a layer that are loaded and computed together.

    A layer of at most a quarter of the weight memory stays whole. A larger one is cut so that the
    weights of some pieces are loaded while others are in use: into pieces of at most a quarter
    (or half, or all, if they cannot be smaller) that take the fewest cycles, the largest of these.
    On the preset ``ulx3s``, 48 columns of 192 elements are 96 of 512 rows and lose nothing.
    """
    def cost(width: int, most: int) -> float:
        whole, rest = divmod(columns, width)
        return (whole * place(depth, width, hw, most).cycles
                + (place(depth, rest, hw, most).cycles if rest else 0))

    for most in (hw.weight_rows // 4, hw.weight_rows // 2, hw.weight_rows):
        costs = {}
        for width in [*range(hw.lanes, columns, hw.lanes), columns]:
            with suppress(ValueError):
                costs[width] = cost(width, most)
        if costs:
            width = columns if columns in costs else min(
                costs, key=lambda width: (costs[width], -width))
            return [range(start, min(start + width, columns))
                    for start in range(0, columns, width)]
    return [range(columns)]


class Heads(NamedTuple):
    """How attention heads share the groups.

    Of each set of groups ``2**level`` neighboring ones take an item together: they hold different
    tiles of keys, ``2**spread`` of them, or of values, ``2**value_spread``, and of these parts of
    the elements that are summed.
    """

    sets: int
    level: int
    spread: int
    value_spread: int

    def rows(self, tokens: int, head_dim: int, hw: HwConfig) -> tuple[int, int]:
        """Return the rows of one head's keys and of its values."""
        return (head_rows(tokens, head_dim, self.spread, self.level - self.spread, hw),
                head_rows(head_dim, tokens, self.value_spread, self.level - self.value_spread, hw))

    def last_key(self, tokens: int, hw: HwConfig) -> bool:
        """Tell whether the last key takes no pass: it would be alone in one, and not the only."""
        return hw.last_key and tokens > 1 == tokens % (hw.lanes << self.spread)

    def cycles(self, tokens: int, head_dim: int, hw: HwConfig) -> float:
        """Return the cycles of a row of scores and of its values, if the groups never wait.

        Either the groups are busy with the tiles, of which the last may be short, or the words of
        operands are read one a cycle, once for each pass.
        """
        busy = reads = 0
        keys = tokens - self.last_key(tokens, hw)
        for elements, length, spread in ((keys, head_dim, self.spread),
                                         (head_dim, tokens, self.value_spread)):
            passes = -(-elements // (hw.lanes << spread))
            busy += (passes << spread) * length
            reads += passes * -(-length // hw.word)
        return max(busy / hw.groups, reads)

    @property
    def key_fields(self) -> dict[str, int]:
        """Fields of a descriptor of keys, or of the products."""
        return {"spread": self.spread, "head_split": self.level - self.spread}

    @property
    def value_fields(self) -> dict[str, int]:
        """Fields of a descriptor of values."""
        return {"spread": self.value_spread, "head_split": self.level - self.value_spread}


def head_rows(columns: int, length: int, spread: int, split: int, hw: HwConfig) -> int:
    """Return the rows of one head's ``columns`` keys, or values, of which ``length`` are summed.

    A part of the sum has whole words.
    """
    part = -(-length // hw.word) * (hw.word >> split) if split else length
    return -(-columns // (hw.lanes << spread)) * part


def sets_of(heads: int, tokens: int, head_dim: int, hw: HwConfig) -> Heads:
    """Return how many sets of groups share the heads out, and how the groups of a set do it.

    Of the numbers of sets that fit, one that leaves the fewest groups idle; of these the largest.
    A set's groups all hold all tiles if there is room, so that any may take any item. Else, as few
    as fit take an item together: in as few cycles, then in as few passes as can be, since the
    groups hold only some finished items that wait for a longer one before them.

    Raises
    ------
    ValueError
        The keys and values do not fit.
    """
    needs = {}
    for sets in hw.gangs:
        for level in hw.spreads(hw.groups // sets):
            for spread, value_spread in product(range(level + 1), repeat=2):
                choice = Heads(sets, level, spread, value_spread)
                if level - min(spread, value_spread) in hw.splits:
                    needs[choice] = -(-heads // sets) * sum(choice.rows(tokens, head_dim, hw))
    fitting = [choice for choice, rows in needs.items() if rows <= hw.kv_rows]
    if not fitting:
        raise ValueError(f"keys and values of {heads} heads and {tokens} tokens need "
                         f"{min(needs.values())} kv_rows, the hardware has {hw.kv_rows}")
    return min(fitting, key=lambda choice: (
        -(-heads // choice.sets) * choice.sets, -choice.sets,
        choice.level, choice.cycles(tokens, head_dim, hw), -choice.spread, -choice.value_spread))
