"""Tallies of many sequences, by all processors."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from typing import NamedTuple

from golden.quantized import QuantizedModel
from golden.sequences import KINDS, sequences
from golden.tally import Tally, one_thread, tally
from scripts.api.progress import QUIET, Progress

TASKS = ("digit", "odd")
"""What the digits network tells of an image."""

SHARE = 52
"""Sequences that a process counts at a time."""


class Cell(NamedTuple):
    """A network by name, the kind of its sequences, its task."""

    network: str
    kind: str
    task: int


def shares(networks: dict[str, QuantizedModel], cells: Iterable[Cell], thetas: Sequence[int],
           count: int, seed: int) -> Iterator[tuple]:
    """Return a cell and the arguments of :func:`golden.tally.tally` for each share of it."""
    for cell in cells:
        shown, digit = sequences("test", cell.kind, seed, count=count)
        for start in range(0, len(shown), SHARE):
            part = slice(start, start + SHARE)
            yield cell, networks[cell.network], shown[part], digit[part], cell.task, thetas


def one(share: tuple) -> tuple[Cell, list[Tally]]:
    """Count one share."""
    return share[0], tally(*share[1:])


def tallies(networks: dict[str, QuantizedModel], thetas: Sequence[int], count: int, seed: int,
            progress: Progress = QUIET) -> dict[Cell, list[Tally]]:
    """Run the last ``count`` held-out digits' sequences of all kinds.

    Returns
    -------
    dict
        By network, kind and task, a tally for each of ``thetas``.
    """
    cells = [Cell(*cell) for cell in product(networks, KINDS, range(len(TASKS)))]
    made = {cell: [Tally() for _ in thetas] for cell in cells}
    work = list(shares(networks, cells, thetas, count, seed))
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), one_thread) as pool:
        for cell, found in progress.each(pool.map(one, work), "sequences", len(work)):
            made[cell] = [a + b for a, b in zip(made[cell], found, strict=True)]
    return made
