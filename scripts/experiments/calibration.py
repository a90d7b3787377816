"""Measured power to a cost table: non-negative least squares over what the simulator counts.

A measurement says that ``power = sum(price * count per frame) * frames/s + static power``, with
the counts of the simulated frame; the fit finds prices and static power that are nowhere negative.
"""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.stats import t as student

from deltamoe.experiments.points.evaluate import Evaluator
from deltamoe.experiments.points.point import Point
from deltamoe.experiments.reading import checked
from deltamoe.sim.energy.table import ENTRIES, entry_of
from deltamoe.sim.report.spans import Result

COLUMNS = {"model": str, "hardware": str, "task": int, "latency": int, "interval": int,
           "clock_mhz": float, "voltage_v": float, "frames_per_s": float, "power_w": float}
"""Columns of a CSV of measurements and their types; ``idle_power_w`` may follow.

``model`` and ``hardware`` are presets, ``latency`` and ``interval`` the memory's, in cycles;
``voltage_v`` is that of the logic. ``power_w`` is the mean power of the rails that the table shall
be for, while ``model`` runs ``task`` at ``frames_per_s``; ``idle_power_w`` that of the same rails
with the accelerator configured and no frame in flight.
"""

IDLE = "idle_power_w"
TERMS = {"mac": ("mac",), "sram": ("sram", "accumulator"), "dram": ("dram_read", "dram_write"),
         "static": ("device_static",)}
"""Terms of the fit and the entries that get their value; all others are contained in them."""

CONFIDENCE = 0.95
LARGEST_CONDITION = 1e4
"""Above it, what little tells two terms apart is noise."""


@dataclass(frozen=True)
class Measurement:
    """A row of the CSV; ``idle_power_w`` is None if it was not measured."""

    line: int
    point: Point
    voltage_v: float
    frames_per_s: float
    power_w: float
    idle_power_w: float | None


@dataclass(frozen=True)
class Fit:
    """Value and half the width of the confidence interval by term, and what is left over."""

    values: Mapping[str, float]
    margins: Mapping[str, float]
    residual_w: float
    rows: int


def read(path: Path) -> list[Measurement]:
    """Read a CSV of measurements.

    Raises
    ------
    ValueError
        A column is missing or unknown, or a value is not a number above 0; says where.
    """
    try:
        reader = csv.DictReader(path.read_text("utf-8-sig").splitlines())
        rows, columns = list(reader), list(reader.fieldnames or ())
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV: {error}") from None
    for column in COLUMNS:
        if column not in columns:
            raise ValueError(f"{path}: lacks column {column}; needed are {', '.join(COLUMNS)}")
    for column in columns:
        if column not in {*COLUMNS, IDLE}:
            raise ValueError(f"{path}: unknown column {column!r}; known are "
                             f"{', '.join(COLUMNS)}, {IDLE}")
        if columns.count(column) > 1:
            raise ValueError(f"{path}: column {column} is there twice")
    if not rows:
        raise ValueError(f"{path}: holds no measurement")
    return [parse(path, number, row) for number, row in enumerate(rows, 2)]


def parse(path: Path, line: int, row: Mapping[str, str | None]) -> Measurement:
    """Return a row as a measurement."""
    values: dict[str, str | int | float | None] = {}
    if None in row:
        raise ValueError(f"{path}, line {line}: more values than columns")
    for column, kind in {**COLUMNS, IDLE: float}.items():
        text = (row.get(column) or "").strip()
        if column == IDLE and not text:
            values[column] = None
            continue
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"{path}, line {line}: {column} {text!r} is not a number") from None
        least = 0 if kind is int else math.ulp(0.0)
        if kind is not str and not least <= value < math.inf:
            raise ValueError(f"{path}, line {line}: {column} {text} is not "
                             f"{'at least' if kind is int else 'above'} 0")
        values[column] = value
    model, hardware, task, latency, interval, clock = (values.pop(name) for name in (
        "model", "hardware", "task", "latency", "interval", "clock_mhz"))
    point = checked(Point, {
        "model": {"preset": model, "task": task}, "hardware": hardware,
        "memory": {"latency": latency, "interval": interval, "clock_mhz": clock},
    }, f"{path}, line {line}")
    return Measurement(line, point, **values)


@cache
def simulated(point: Point) -> Result:
    """Simulate a frame of what was measured."""
    return Evaluator(operands=False).run(point).results[0]


def terms_of(result: Result) -> Counter:
    """Return how often a frame does what each term prices."""
    counts: Counter = Counter()
    for act, count in result.acts.items():
        entry = entry_of(act)
        counts.update({term: count for term, entries in TERMS.items() if entry in entries})
    return counts


def equations(rows: Iterable[Measurement], terms: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a row of coefficients and the power in W of every measurement.

    Prices are in pJ, static power in W. Where the accelerator waits between frames, its measured
    idle power takes the place of the static power for that time.

    Raises
    ------
    ValueError
        The network does not fit the hardware, or more frames are claimed than the simulator
        allows at that clock; says in which line.
    """
    coefficients, powers = [], []
    for row in rows:
        point = row.point
        try:
            result = simulated(point)
        except ValueError as error:
            raise ValueError(f"line {row.line}: {error}") from None
        most = point.clock.frames_per_s(result.cycles)
        busy = row.frames_per_s / most
        if busy > 1 + 1e-3:
            raise ValueError(f"line {row.line}: {row.frames_per_s:g} frames/s are more than the "
                             f"{most:.1f} that {point.model.label} on {point.hardware.label} makes "
                             f"at {point.clock.mhz:g} MHz")
        counts, power = terms_of(result), row.power_w
        counts["static"] = 1
        if row.idle_power_w is not None:
            counts["static"] = busy
            power -= row.idle_power_w * max(0.0, 1 - busy)
        coefficients.append([counts[term] * (1 if term == "static" else row.frames_per_s * 1e-12)
                             for term in terms])
        powers.append(power)
    return np.array(coefficients, float), np.array(powers, float)


def fit(coefficients: np.ndarray, powers: np.ndarray, terms: list[str]) -> Fit:
    """Solve for non-negative prices; their margins follow from what is left over.

    Raises
    ------
    ValueError
        There are too few measurements, or they do not tell two terms apart.
    """
    rows, count = coefficients.shape
    if rows <= count:
        raise ValueError(f"{rows} measurements are too few for {count} terms "
                         f"({', '.join(terms)}); needed are at least {count + 1}")
    sizes = np.linalg.norm(coefficients, axis=0)
    if not sizes.all():
        raise ValueError(f"term {terms[int(np.argmin(sizes))]} is 0 in all measurements")
    scaled = coefficients / sizes
    if np.linalg.cond(scaled) > LARGEST_CONDITION:
        likeness = np.abs(scaled.T @ scaled) - np.eye(count)
        one, other = np.unravel_index(np.argmax(likeness), likeness.shape)
        raise ValueError(f"the measurements do not tell {terms[one]} from {terms[other]}: vary "
                         "the model, the frame rate or the memory, or leave one out of --terms")
    values, _ = nnls(scaled, powers)
    left_over = powers - scaled @ values
    variance = left_over @ left_over / (rows - count)
    deviations = np.sqrt(variance * np.diag(np.linalg.inv(scaled.T @ scaled)))
    margins = student.ppf((1 + CONFIDENCE) / 2, rows - count) * deviations
    return Fit(dict(zip(terms, (values / sizes).tolist(), strict=True)),
               dict(zip(terms, (margins / sizes).tolist(), strict=True)),
               float(np.sqrt(variance)), rows)


def table(fitted: Fit, rows: list[Measurement], source: str) -> dict:
    """Return the table of a fit as ``--energy-table`` reads it.

    Raises
    ------
    ValueError
        The measurements were made at several voltages.
    """
    voltages = sorted({row.voltage_v for row in rows})
    if len(voltages) > 1:
        raise ValueError(f"{source}: voltage_v takes the values {voltages}; a table is for one")
    hardware = ", ".join(sorted({row.point.hardware.label for row in rows}))
    terms = ", ".join(fitted.values)
    where = {entry: term for term in fitted.values for entry in TERMS[term]}
    method = (f"non-negative least squares over {fitted.rows} measurements of {source}, "
              f"{fitted.residual_w:.3g} W left over; {CONFIDENCE:.0%} confidence interval")
    entries = {}
    for entry, unit in ENTRIES.items():
        value, margin = ((1e3 if unit == "mW" else 1.0) * by_term.get(where.get(entry, ""), 0.0)
                         for by_term in (fitted.values, fitted.margins))
        entries[entry] = {
            "value": value, "low": max(0.0, value - margin), "high": value + margin,
            "unit": f"{unit}, as in the tables that are built in",
            "node": f"as measured: {hardware}", "voltage": voltages[0],
            "source": method if entry in where else f"contained in {terms}, fitted to {source}"}
    idle, gaps = [1e3 * row.idle_power_w for row in rows if row.idle_power_w is not None], {}
    if idle:
        entries["device_idle"] |= {
            "value": float(np.mean(idle)), "low": min(idle), "high": max(idle),
            "source": f"mean, least and largest of {len(idle)} measurements of {source}"}
    else:
        del entries["device_idle"]
        gaps["device_idle"] = f"{IDLE} is in no row of {source}"
    return {"kind": "fpga", "meaning": f"calibrated: {terms} fitted to {fitted.rows} measurements "
            f"of {source}; they contain whatever else was measured", "gaps": gaps,
            "entries": entries}
