"""Sweeps: which hardware is best for a network in several respects, searched and recorded."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import optuna
from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Pictured
from deltamoe.boards.area.model import PART
from deltamoe.experiments.sweep import report
from deltamoe.experiments.sweep.design import Design
from deltamoe.experiments.sweep.record import Record
from deltamoe.experiments.sweep.search import search
from deltamoe.experiments.sweep.spec import Spec, find, load
from deltamoe.experiments.sweep.workers import LostError, cluster, local
from deltamoe.host.outputs import alone

FILES = ("sweep.db", "pareto.png")
"""The record of a sweep's folder, and its picture."""


@dataclass(frozen=True)
class Sweep(Pictured):
    """Designs of a sweep, and which of them no other beats.

    Attributes
    ----------
    spec : Spec
        What was explored.
    points : list of Design
        Every design with its figures, or why there is none.
    asked : int
        How often the sampler was asked, for designs known already too.
    folder : Path
        Where the record is.
    evaluated : int
        Designs evaluated now; the others were in the record.
    seconds, processor_seconds : float
        Time that this took, and processor time of all workers.
    """

    spec: Spec
    points: list[Design]
    asked: int
    folder: Path
    evaluated: int
    seconds: float
    processor_seconds: float

    def figures(self) -> dict:
        return report.described(self.spec, self.points, self.asked) | {
            "seconds": self.seconds, "processor_seconds": self.processor_seconds,
            "evaluated": self.evaluated}

    def table(self) -> Group:
        figures = self.figures()
        return Group(report.table(self.spec, figures["front"]), Text(
            f"{figures['points']} designs, {figures['refused']} of them refused by the hardware or "
            f"the compiler, {figures['over_limits']} over the limits; {self.evaluated} evaluated "
            f"now in {self.seconds:.0f} s, {self.processor_seconds:.0f} s of processor time. "
            f"Record and picture: {self.folder}"), Text(
            f"Areas are estimates for {PART.name}; those of {figures['area_designs']} designs that "
            "Yosys counted, each left out of the fit, differ at most by " + ", ".join(
                f"{error['max']:.1%} ({name.upper()})"
                for name, error in figures["area_errors"].items())))

    def picture(self) -> bytes:
        """Return a PNG of every pair of objectives with the Pareto front."""
        return report.picture(self.spec, self.points)

    def csv(self) -> str:
        """Return one line for each design."""
        return report.rows(self.spec, self.points)


def sweep(spec: str | Path, out: str | Path | None = None, *, workers: int | None = None,
          scheduler: str | None = None, progress: Progress = QUIET) -> Sweep:
    """Explore hardware for throughput, energy and area; one that was stopped goes on.

    Parameters
    ----------
    spec : str or Path
        YAML file, or the name of a sweep that comes along.
    out : str or Path, optional
        Folder of the record; else ``out/`` and the spec's name.
    workers : int, optional
        Processes; by default as many as there are cores.
    scheduler : str, optional
        Dask scheduler to use instead, as ``tcp://host:8786``.
    progress : Progress
        Is told how many designs are finished.

    Raises
    ------
    ValueError
        Names the place in the spec and what is allowed; the record is of another sweep; or who
        evaluated is gone.
    OSError
        The record cannot be written.
    """
    path = find(str(spec))
    wanted = load(path)
    folder = Path("out") / path.stem if out is None else Path(out)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    team = cluster(scheduler) if scheduler else local(workers or os.cpu_count() or 1)
    began = time.perf_counter()
    with team as hands, alone(folder):
        record = Record(folder / FILES[0], wanted)
        known = len(record.designs)
        with progress.bar("points", min(wanted.points, wanted.size)) as update:
            try:
                points, asked = search(wanted, record, hands,
                                       lambda done: update(completed=done))
            except LostError as error:
                raise ValueError(f"{error}; {len(record.designs)} of {wanted.points} points are "
                                 f"in {folder}, the same command goes on") from None
    return Sweep(wanted, points, asked, folder, len(record.designs) - known,
                 time.perf_counter() - began, hands.seconds)
