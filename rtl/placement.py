"""How a matrix is spread over the lane groups."""

from collections.abc import Iterator
from dataclasses import dataclass

from rtl.config import HwConfig


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

    def fields(self, hw: HwConfig) -> dict[str, int]:
        """Return the descriptor's fields."""
        return {"gang": hw.gangs.index(self.gang), "split": self.split,
                "span": hw.gangs.index(self.span), "passes": self.passes}


def placements(depth: int, columns: int, hw: HwConfig) -> Iterator[Placement]:
    """All placements of a matrix of ``depth`` rows and ``columns`` columns."""
    words, tiles = -(-depth // hw.word), -(-columns // hw.lanes)
    for gang in hw.gangs:
        for split in range(hw.word.bit_length()):
            if gang << split not in hw.gangs:
                continue
            passes, items = -(-tiles // gang), hw.groups // (gang << split)
            rows = words * (hw.word >> split)
            busy = max(rows, 2) / items
            yield Placement(gang, split, passes, rows,
                            passes * max(busy, words, -(-columns // hw.word) / passes))


def place(depth: int, columns: int, hw: HwConfig) -> Placement:
    """Return the placement that costs the fewest cycles, then weight rows, then passes.

    Spreading the sum over all groups stores no weight twice: 576 rows of twelve groups for an
    expert of M3ViT-tiny become 96 rows of 24 groups at the same cycles.

    Raises
    ------
    ValueError
        The weights do not fit.
    """
    fitting = [p for p in placements(depth, columns, hw) if p.passes * p.rows <= hw.weight_rows]
    if not fitting:
        least = min(p.passes * p.rows for p in placements(depth, columns, hw))
        raise ValueError(f"a layer of depth {depth} and {columns} columns needs {least} "
                         f"weight_rows, the hardware has {hw.weight_rows}")
    return min(fitting, key=lambda p: (p.cycles, p.passes * p.rows, p.passes))


def sets_of(heads: int, rows: int, hw: HwConfig) -> int:
    """Return the number of sets of groups that share the heads out.

    A head takes ``rows`` rows of keys and values. Of the numbers that fit, one that leaves the
    fewest groups idle; of these the largest.

    Raises
    ------
    ValueError
        The keys and values do not fit.
    """
    fitting = [sets for sets in hw.gangs if -(-heads // sets) * rows <= hw.kv_rows]
    if not fitting:
        raise ValueError(f"keys and values of {heads} heads need "
                         f"{min(-(-heads // sets) for sets in hw.gangs) * rows} kv_rows, "
                         f"the hardware has {hw.kv_rows}")
    return min(fitting, key=lambda sets: (-(-heads // sets) * sets, -sets))
