"""Tallies of many sequences, by all processors."""

import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from deltamoe.api.progress import QUIET, Progress
from deltamoe.golden.data.sequences import KINDS, sequences
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.temporal.tally import Tally, one_thread, tally
from deltamoe.host.processes import workers

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
           count: int, seed: int) -> Iterator[bytes]:
    """Return a cell and the arguments of its tally for each share of it, pickled.

    ``multiprocessing`` would hand tensors over in shared memory, which may be small, by a socket
    among the temporary files, which it looks for when those are gone.
    """
    for cell in cells:
        shown, digit = sequences("test", cell.kind, seed, count=count)
        for images, labels in zip(shown.split(SHARE), digit.split(SHARE), strict=True):
            yield pickle.dumps((cell, networks[cell.network], images.clone(), labels.clone(),
                                cell.task, thetas))


def one(share: bytes) -> tuple[Cell, list[Tally]]:
    """Count one share."""
    cell, *arguments = pickle.loads(share)
    return cell, tally(*arguments)


def tallies(networks: dict[str, QuantizedModel], thetas: Sequence[int], count: int, seed: int,
            progress: Progress = QUIET) -> dict[Cell, list[Tally]]:
    """Run the last ``count`` held-out digits' sequences of all kinds.

    Returns
    -------
    dict
        By network, kind and task, a tally for each of ``thetas``.
    """
    cells = [Cell(*cell) for cell in product(networks, KINDS, range(len(TASKS)))]
    totals = {cell: [Tally() for _ in thetas] for cell in cells}
    work = list(shares(networks, cells, thetas, count, seed))
    with workers(os.cpu_count() or 1, one_thread) as pool:
        for cell, counted in progress.each(pool.map(one, work), "sequences", len(work)):
            totals[cell] = [a + b for a, b in zip(totals[cell], counted, strict=True)]
    return totals
