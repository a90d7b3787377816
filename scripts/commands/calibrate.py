"""``deltamoe calibrate``: measured power to an energy table."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.calibration import calibrate as calibrated
from deltamoe.api.calibration import check_terms
from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments.calibration import COLUMNS, IDLE, TERMS
from deltamoe.host.outputs import check_outputs


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
    fitted = [term.strip() for term in terms.split(",")]
    check_terms(fitted, f"--terms {terms}")
    check_outputs([out], json=json, read=[measurements])
    show(calibrated(measurements, out, fitted, progress=bars), json)
