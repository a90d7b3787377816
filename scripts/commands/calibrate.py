"""``deltamoe calibrate``: measured power to an energy table."""

from functools import cache
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from golden.config import MODELS
from rtl.compiler import compile_program
from scripts.calibration import COLUMNS, IDLE, TERMS, Measurement, equations, fit, read, table
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.files import write
from scripts.host.outputs import check_outputs
from scripts.lookup import hardware
from scripts.terminal import Table
from sim.machine import simulate
from sim.memory import MemoryModel
from sim.outline import Outline, facts
from sim.spans import Result

UNITS = {"static": "W"}


@cache
def frame(model: str, hardware_name: str, task: int, latency: int, interval: int) -> Result:
    """Simulate one frame of a preset."""
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(MODELS)}")
    config, hw = MODELS[model], hardware(hardware_name)
    program = compile_program(Outline(config), hw, task)
    return simulate(program, facts(config, task), MemoryModel(latency, interval))


def simulated(row: Measurement) -> Result:
    """Simulate what was measured.

    Raises
    ------
    ValueError
        No such preset; says in which line.
    """
    try:
        return frame(row.model, row.hardware, row.task, row.latency, row.interval)
    except ValueError as error:
        raise ValueError(f"line {row.line}: {error}") from None


@app.command(help="Fit an energy table to measured power by non-negative least squares.\n\nThe CSV "
             f"has the columns {', '.join(COLUMNS)} and, if it was measured, {IDLE}: the power of "
             "the same rails while no frame is in flight. latency and interval are the memory's, "
             "in cycles.")
@command
def calibrate(
    measurements: Annotated[Path, typer.Argument(help="CSV of measurements.")],
    out: Annotated[Path, typer.Option(help="Table to write, for --energy-table.")],
    terms: Annotated[str, typer.Option(
        help=f"What is fitted, of {', '.join(TERMS)}.")] = "mac,dram,static",
    json: JsonFile = None,
) -> None:
    """Fit an energy table to measured power."""
    wanted = [term.strip() for term in terms.split(",")]
    for term in wanted:
        if term not in TERMS or wanted.count(term) > 1:
            raise ValueError(f"--terms {terms}: {term!r} is not one of {', '.join(TERMS)}, once")
    check_outputs([out], json=json, read=[measurements])
    rows = read(measurements)
    made = fit(*equations(track(rows, "simulating", console=errors, transient=True,
                                disable=not errors.is_terminal), wanted, simulated), wanted)
    body = table(made, rows, measurements.name)
    result = {"measurements": made.rows, "residual_w": made.residual_w, "terms": {
        name: {"value": value, "margin": made.margins[name], "unit": UNITS.get(name, "pJ")}
        for name, value in made.values.items()}, "table": str(out)}
    write(out, dumps(body, indent=2) + "\n")
    if emit(result, json):
        return
    shown = Table("term", "value", "+/-", "unit", title=body["meaning"])
    for name, term in result["terms"].items():
        shown.add_row(name, f"{term['value']:.4g}", f"{term['margin']:.2g}", term["unit"])
    console.print(shown)
    console.print(f"{made.residual_w:.3g} W left over; wrote {out}", highlight=False)
