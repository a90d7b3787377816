"""``deltamoe sweep``: explore hardware for throughput, energy and area."""

import os
import time
from pathlib import Path
from typing import Annotated

import optuna
import typer
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from boards.area import PART
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.files import write_all
from scripts.host.outputs import alone, check_outputs
from scripts.sweep.reading import find, load
from scripts.sweep.record import Record
from scripts.sweep.report import described, picture, rows, table
from scripts.sweep.search import search
from scripts.sweep.workers import LostError, cluster, local

FILES = ("sweep.db", "pareto.png")


@app.command()
@command
def sweep(
    spec_name: Annotated[str, typer.Argument(
        metavar="SPEC", help="YAML file, or the name of a sweep that comes with the program.")],
    out: Annotated[Path | None, typer.Option(
        help="Folder of the record and of pareto.png; else out/ and the spec's name.")] = None,
    workers: Annotated[int | None, typer.Option(
        min=1, help="Processes; by default as many as there are cores.")] = None,
    address: Annotated[str | None, typer.Option(
        "--cluster", help="Dask scheduler to use instead, as tcp://host:8786.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all points here.")] = None,
    json: JsonFile = None,
) -> None:
    """Explore hardware for throughput, energy and area; one that was stopped goes on."""
    path = find(spec_name)
    spec = load(path)
    folder = out or Path("out") / path.stem
    check_outputs([csv], json=json, read=[path], folders={folder: FILES})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    team = cluster(address) if address else local(workers or os.cpu_count() or 1)
    began = time.perf_counter()
    with team as hands, alone(folder):
        record = Record(folder / FILES[0], spec)
        known = len(record.outcomes)
        with Progress(*Progress.get_default_columns()[:-1], MofNCompleteColumn(),
                      TimeRemainingColumn(), console=errors, transient=True,
                      disable=not errors.is_terminal) as progress:
            bar = progress.add_task("points", total=min(spec.points, spec.size))
            try:
                points, asked = search(spec, record, hands, lambda done: progress.update(
                    bar, completed=done))
            except LostError as error:
                raise ValueError(f"{error}; {len(record.outcomes)} of {spec.points} points are in "
                                 f"{folder}, the same command goes on") from None
    seconds = time.perf_counter() - began
    made = described(spec, points, asked)
    written = {folder / FILES[1]: picture(spec, points)}
    if csv:
        written[csv] = rows(spec, points).encode()
    write_all(written)
    made |= {"seconds": seconds, "processor_seconds": hands.seconds,
             "evaluated": len(record.outcomes) - known}
    if emit(made, json):
        return
    console.print(table(made))
    console.print(
        f"{made['points']} designs, {made['refused']} of them refused by the hardware or the "
        f"compiler, {made['over_limits']} over the limits; {made['evaluated']} evaluated now in "
        f"{seconds:.0f} s, {hands.seconds:.0f} s of processor time. Record and picture: {folder}",
        highlight=False)
    console.print(f"Areas are estimates for {PART.name}; those of {made['area_designs']} designs "
                  "that Yosys counted, each left out of the fit, differ at most by " + ", ".join(
                      f"{error['max']:.1%} ({name.upper()})"
                      for name, error in made["area_errors"].items()), highlight=False)
