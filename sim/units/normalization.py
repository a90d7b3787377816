"""The normalization: when each row may be read.

A word that is read @ ``r`` enters LayerNorm in ``r + Residual.READ``. A row that has left it @
``o`` is written then, and counts in ``rows``, a register, from ``o + 1`` on.
"""

from collections.abc import Callable

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Residual
from deltamoe.sim.units import layer_norm
from deltamoe.sim.units.row_reader import Reads


def rows_normalized(hw: HwConfig, start: int, rows: int, words: int,
                    available: Callable[[int], int], adds: list[tuple[int, int]]) -> list[int]:
    """Return the cycle from which each row may be read; ``available`` when its input may.

    ``adds`` are the cycles in which the residual stream's read port is taken.
    """
    reads, normalized, ready = Reads(start, words, adds), layer_norm.Rows(hw, words), []
    for row in range(rows):
        last = reads.row(max(available(row), normalized.room()))
        ready.append(normalized.normalize(last + Residual.READ) + 1)
    return ready
