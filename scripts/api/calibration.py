"""Calibration: an energy table from measured power."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.experiments.calibration import TERMS, Fit, equations, fit, read, table
from deltamoe.host.files import write
from deltamoe.terminal import Table

UNITS = {"static": "W"}


@dataclass(frozen=True)
class Calibration(Result):
    """A fit to measured power.

    Attributes
    ----------
    fitted : Fit
        Value and margin by term, in pJ or W, and what is left over.
    energy_table : dict
        The table, as ``energy_table`` of a simulation takes its file.
    path : Path
        That file.
    """

    fitted: Fit
    energy_table: dict
    path: Path

    def figures(self) -> dict:
        fitted = self.fitted
        return {"measurements": fitted.rows, "residual_w": fitted.residual_w, "terms": {
            name: {"value": value, "margin": fitted.margins[name], "unit": UNITS.get(name, "pJ")}
            for name, value in fitted.values.items()}, "table": str(self.path)}

    def table(self) -> Group:
        shown = Table("term", "value", "+/-", "unit", title=self.energy_table["meaning"])
        for name, term in self.figures()["terms"].items():
            shown.add_row(name, f"{term['value']:.4g}", f"{term['margin']:.2g}", term["unit"])
        return Group(shown, Text(f"{self.fitted.residual_w:.3g} W left over; wrote {self.path}"))


def check_terms(wanted: Sequence[str], source: str) -> None:
    """Raise ValueError unless ``wanted`` are terms of a fit, each once; ``source`` names them."""
    for term in wanted:
        if term not in TERMS or wanted.count(term) > 1:
            raise ValueError(f"{source}: {term!r} is not one of {', '.join(TERMS)}, once")


def calibrate(measurements: Path, out: Path, terms: Sequence[str], *,
              progress: Progress = QUIET) -> Calibration:
    """Fit an energy table to measured power by non-negative least squares, and write it.

    Parameters
    ----------
    measurements : Path
        CSV with the columns of :data:`deltamoe.experiments.calibration.COLUMNS`.
    out : Path
        Table to write.
    terms : sequence of str
        What is fitted, of :data:`deltamoe.experiments.calibration.TERMS`.
    progress : Progress
        Is told of every measurement.

    Raises
    ------
    ValueError
        Names the line of a bad measurement; or there are too few to tell the terms apart.
    OSError
        A file cannot be read or written.
    """
    check_terms(terms, ",".join(terms))
    rows = read(measurements)
    fitted = fit(*equations(progress.each(rows, "simulating"), list(terms)), list(terms))
    calibration = Calibration(fitted, table(fitted, rows, measurements.name), out)
    write(out, json.dumps(calibration.energy_table, indent=2) + "\n")
    return calibration
