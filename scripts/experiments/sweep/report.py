"""The result of a sweep as JSON, table, picture and CSV."""

import csv
import io
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure

from deltamoe.boards.area.model import CAPACITY, errors
from deltamoe.boards.clock import Clock
from deltamoe.experiments.sweep.design import Design
from deltamoe.experiments.sweep.spec import OBJECTIVES, Spec
from deltamoe.page import BLUE, GRAY, ORANGE, png
from deltamoe.terminal import Table

UNITS = {
    "frames_per_s": ("frames/s", 1), "utilization": ("share of multipliers' cycles used", 1),
    "cycles": ("thousand cycles per frame", 1000), "energy_pj": ("energy per frame, mJ", 1e9),
    "area_share": ("largest share of the part", 1), "lut": ("thousand LUTs", 1000),
    "ff": ("thousand flip-flops", 1000), "dsp": ("DSP48E2", 1), "bram": ("BRAM36", 1),
}
"""Unit of each figure, and what it is divided by."""

ROWS = 16
"""Most rows of the table."""


def described(spec: Spec, points: list[Design], asked: int) -> dict:
    """Return the JSON: the same for the same spec, however the points were evaluated."""
    front = sorted((point for point in points if point.best),
                   key=lambda point: [point.figures[name] for name in spec.objectives])
    return {
        "spec": spec.model_dump(mode="json", exclude_none=True), "asked": asked,
        "clock": None if (clock := clock_of(spec)) is None else clock.figures(),
        "points": len(points),
        "refused": sum(bool(point.refused) for point in points),
        "over_limits": sum(not point.refused and not point.fits for point in points),
        "area_errors": area_errors(), "area_designs": len(errors()),
        "front": [{"values": point.values, "figures": point.figures} for point in front],
    }


def clock_of(spec: Spec) -> Clock | None:
    """Return the clock of all designs, or None if it is explored."""
    if "clock_mhz" in spec.explore:
        return None
    return spec.hardware.clocks(spec.memory.clock_mhz)[-1]


def unit(spec: Spec, figure: str) -> str:
    """Return a figure's unit; that of frames/s with the clock."""
    clock = clock_of(spec)
    if figure != "frames_per_s":
        return UNITS[figure][0]
    return f"{UNITS[figure][0]} at {clock or 'clocks that are all assumed'}"


def area_errors() -> dict[str, dict[str, float]]:
    """Return the greatest and the mean error of each area, as shares of it, left out of the fit."""
    by_area = {name: np.abs([error[name] for error in errors()]) for name in CAPACITY}
    return {name: {"max": float(shares.max()), "mean": float(shares.mean())}
            for name, shares in by_area.items()}


def table(spec: Spec, front: list[dict]) -> Table:
    """Return some of the front, spread over the first objective."""
    shown = front if len(front) <= ROWS else [
        front[round(n * (len(front) - 1) / (ROWS - 1))] for n in range(ROWS)]
    filled = Table(title=f"{spec.model.label} on {spec.hardware.label} changed: {len(shown)} "
                         f"of the {len(front)} designs that no other beats")
    for name in spec.objectives:
        filled.add_column(unit(spec, name), justify="right")
    filled.add_column("design")
    for row in shown:
        figures = (row["figures"][name] / UNITS[name][1] for name in spec.objectives)
        filled.add_row(*(f"{figure:,.1f}" if figure >= 100 else f"{figure:.3g}"
                         for figure in figures),
                       " ".join(f"{name}={value}" for name, value in row["values"].items()))
    return filled


def picture(spec: Spec, points: list[Design]) -> bytes:
    """Return a PNG of every pair of objectives: all designs, those over the limits, the front."""
    pairs = list(combinations(spec.objectives, 2)) or [(spec.objectives[0], "area_share")]
    figure = Figure(figsize=(4.6 * min(3, len(pairs)), 4 * -(-len(pairs) // 3) + 0.6),
                    layout="constrained")
    figure.suptitle(f"{spec.model.label} on {spec.hardware.label} with changes, "
                    f"{len(points)} designs")
    grid = figure.subplots(-(-len(pairs) // 3), min(3, len(pairs)), squeeze=False)
    built = [point for point in points if not point.refused]
    kinds = (("over the limits", "x", GRAY, [p for p in built if not p.fits]),
             ("beaten", ".", BLUE, [p for p in built if p.fits and not p.best]),
             ("beaten by none", "o", ORANGE, [p for p in built if p.best]))
    for axes, (vertical, across) in zip(grid.flat, pairs, strict=False):
        for label, marker, color, chosen in kinds:
            (_, wide), (_, high) = UNITS[across], UNITS[vertical]
            axes.scatter([p.figures[across] / wide for p in chosen],
                         [p.figures[vertical] / high for p in chosen],
                         marker=marker, color=color, s=18, linewidths=0.8, label=label)
            axes.set(xlabel=unit(spec, across), ylabel=unit(spec, vertical))
        axes.grid(alpha=0.3)
    for axes in list(grid.flat)[len(pairs):]:
        axes.set_axis_off()
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return png(figure, dpi=110)


def rows(spec: Spec, points: list[Design]) -> str:
    """Return all points as CSV."""
    text = io.StringIO()
    names = next((list(p.figures) for p in points if p.figures), list(OBJECTIVES))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*spec.explore, *names, "within_limits", "best", "refused"])
    for point in points:
        writer.writerow([*point.values.values(),
                         *(point.figures.get(name, "") for name in names),
                         int(point.fits), int(point.best), point.refused])
    return text.getvalue()
