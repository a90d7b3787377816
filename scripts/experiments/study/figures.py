"""Pictures of a study: roofline, energy, layers, Pareto front, stalls."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from deltamoe.experiments.points.outcome import Outcome
from deltamoe.experiments.study.table import Units, rate
from deltamoe.page import BLUE, GRAY, GREEN, ORANGE, RED, SKY, YELLOW
from deltamoe.rtl.label import Label
from deltamoe.sim.report.losses import CAUSES
from deltamoe.sim.report.spans import Layer

PINK, BLACK = "#CC79A7", "#000000"
PARTS = (BLUE, ORANGE, GREEN, YELLOW, SKY, RED, PINK, GRAY, BLACK)
LOOKS = {"rtl": {"marker": "o", "color": BLUE}, "model": {"marker": "D", "color": ORANGE}}


def legend(axes, outcomes: Sequence[Outcome], **where) -> None:
    """Tell exact points and modeled ones apart."""
    kinds = {"rtl": "exact against RTL", "model": "model"}
    shown = [name for name in LOOKS if any(point.executes == name for point in outcomes)]
    axes.legend(handles=[*axes.get_legend_handles_labels()[0], *(
        Line2D([], [], linestyle="", label=kinds[name], **LOOKS[name]) for name in shown)], **where)


MOST = 24
"""Points whose numbers a picture itself explains; the report's table does it for more."""

PLACES = ((7, 4), (-7, 4), (7, -11), (-7, -11), (0, 9), (0, -16), (15, 12), (-15, 12), (15, -20),
          (-15, -20))
"""Where a number may stand beside its point, in typographic points, the best first."""


def key(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    """Say below the axes which number is which point; the figure grows by that."""
    if len(outcomes) > MOST:
        return
    said = names(outcomes)
    columns = max(1, min(4, int(figure.get_figwidth() * 15 / max(map(len, said)))))
    figure.set_figheight(figure.get_figheight() + 0.19 * -(-len(said) // columns) + 0.1)
    figure.legend(handles=[Line2D([], [], linestyle="", label=name, **LOOKS[outcome.executes])
                           for name, outcome in zip(said, outcomes, strict=True)],
                  loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes (left, low, right, high) share something."""
    return (one[0] < other[2] and other[0] < one[2]
            and one[1] < other[3] and other[1] < one[3])


def spots(axes, outcomes: Sequence[Outcome], x: Sequence[float], y: Sequence[float],
          numbers: Sequence[int]) -> None:
    """Draw points with their ``numbers`` where they hide least; points that touch share a label."""
    for outcome, across, up in zip(outcomes, x, y, strict=True):
        axes.plot(across, up, linestyle="", zorder=3, **LOOKS[outcome.executes])
    axes.autoscale_view()
    axes.figure.draw_without_rendering()
    middles = axes.transData.transform(list(zip(x, y, strict=True)))
    labels: dict[int, list[str]] = {}
    for index, middle in enumerate(middles):
        first = next((other for other in labels if np.abs(middles[other] - middle).max() < 8),
                     index)
        labels.setdefault(first, []).append(str(numbers[index]))
    taken = [(a - 5, b - 5, a + 5, b + 5) for a, b in middles]
    dot = axes.figure.dpi / 72
    for index, said in labels.items():
        text = ", ".join(said)
        wide, boxes = 5 * len(text), {}
        for right, up in PLACES:
            left = right - (wide if right < 0 else wide / 2 if right == 0 else 0)
            low = middles[index] + np.multiply((left, up), dot)
            boxes[right, up] = (*low, *(low + np.multiply((wide, 9), dot)))
        best = min(PLACES, key=lambda place: sum(overlap(boxes[place], box) for box in taken))
        taken.append(boxes[best])
        axes.annotate(text, (x[index], y[index]), best, textcoords="offset points", fontsize=8,
                      ha="left" if best[0] > 0 else "right" if best[0] else "center")


def roofline(outcomes: Sequence[Outcome]) -> Figure:
    """Multiplications a cycle over multiplications a byte, below what array and memory allow."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    x = [outcome.intensity for outcome in outcomes]
    y = [outcome.counters["macs"] / outcome.cycles for outcome in outcomes]
    roofs = {(outcome.mac_units, outcome.point.hardware.config.bus_bytes
              / outcome.point.memory_model.interval): None for outcome in outcomes}
    left, right = min(x) / 4, max(max(x), *(most / width for most, width in roofs)) * 4
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(
        min(y) / 2, 1.8 * max(most for most, _ in roofs)),
        xlabel="multiplications for each byte of memory traffic",
        ylabel="multiplications in a cycle")
    for most, wide in roofs:
        ridge = most / wide
        axes.plot([left, ridge, right], [left * wide, most, most], color=GRAY, linewidth=1)
        low = max(left, axes.get_ylim()[0] / wide)
        axes.annotate(f"{wide:g} B/cycle", (low, low * wide), (10, 3), fontsize=8,
                      textcoords="offset points", color="#555555")
    for most in {most for most, _ in roofs}:
        axes.annotate(f"{most:,} multiplications a cycle", (right, most), (-4, 3),
                      textcoords="offset points", ha="right", fontsize=8, color="#555555")
    legend(axes, outcomes, loc="lower right")
    axes.grid(alpha=0.3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
    key(figure, outcomes)
    spots(axes, outcomes, x, y, range(1, len(outcomes) + 1))
    return figure


def names(outcomes: Sequence[Outcome]) -> list[str]:
    """Return points' numbers, labels and whether they are exact."""
    return [f"{number}: {outcome.label} [{outcome.executes}]"
            for number, outcome in enumerate(outcomes, 1)]


def energies(outcomes: Sequence[Outcome], units: Units) -> Figure:
    """Energy of an image by component; the bar's whisker is the sum's interval."""
    figure = Figure(figsize=(9, 0.32 * len(outcomes) + 1.6), layout="constrained")
    axes, labels = figure.subplots(), names(outcomes)
    left = [0.0] * len(outcomes)
    parts = [units.parts(outcome) for outcome in outcomes]
    for name, color in zip([name for name in parts[0] if name != "total"], PARTS, strict=False):
        wide = [part[name].typical / units.scale for part in parts]
        axes.barh(labels, wide, left=left, label=name.replace("_", " "), color=color)
        left = [sum(pair) for pair in zip(left, wide, strict=True)]
    low, typical, high = ([getattr(part["total"], bound) / units.scale for part in parts]
                          for bound in ("low", "typical", "high"))
    axes.errorbar(typical, labels, fmt="none", ecolor=BLACK, capsize=3, linewidth=1, xerr=[
        np.subtract(typical, low), np.subtract(high, typical)])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel(f"energy of an image, {units.energy}; whiskers: low to high of the sum")
    figure.legend(loc="outside upper center", ncols=5, fontsize=8)
    return figure


def block(label: Label) -> str:
    """Return the block that a descriptor belongs to, or what it is for."""
    inside = label.operator is not None and label.operator.layer is not None
    return f"block {label.operator.layer}" if inside else str(label)


def stacked(layers: Sequence[Layer], mac_units: int) -> dict[str, list[float]]:
    """Return by block the cycles that multiplications need, that loads are awaited, the rest."""
    causes: dict[str, list[float]] = {}
    for layer in layers:
        sums = causes.setdefault(block(layer.label), [0.0, 0.0, 0.0])
        ideal = layer.macs / mac_units
        waits = layer.stalls["waits_loads"] + layer.stalls["waits_program"]
        for index, value in enumerate((ideal, max(0.0, layer.cycles - ideal - waits), waits)):
            sums[index] += value
    return causes


def layers(outcomes: Sequence[Outcome], shown: Sequence[int]) -> Figure:
    """Cycles of every block of some points."""
    figure = Figure(figsize=(3.1 * len(shown) + 1, 4.2), layout="constrained")
    kinds = (("multiplications / peak", BLUE), ("fill, drain, stalls", ORANGE),
             ("wait for program and weights", RED))
    for axes, number in zip(figure.subplots(1, len(shown), sharex=True, squeeze=False)[0], shown,
                            strict=True):
        outcome = outcomes[number]
        bars = stacked(outcome.layers, outcome.mac_units)
        left = [0.0] * len(bars)
        for index, (kind, color) in enumerate(kinds):
            wide = [parts[index] / outcome.point.batch for parts in bars.values()]
            axes.barh(list(bars), wide, left=left, color=color, label=kind)
            left = [sum(pair) for pair in zip(left, wide, strict=True)]
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
        axes.set_title(names(outcomes)[number].replace(", ", ",\n"), fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("cycles of an image", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize=8)
    return figure


def pareto(outcomes: Sequence[Outcome], units: Units) -> Figure:
    """Frames/s against energy, and against the output's quality where it differs."""
    numbers = range(1, len(outcomes) + 1)
    noisy = [outcome for outcome in outcomes
             if outcome.sqnr_db is not None and isfinite(outcome.sqnr_db)]
    figure = Figure(figsize=(10.5 if noisy else 8, 4.6), layout="constrained")
    left, *right = figure.subplots(1, 2 if noisy else 1, squeeze=False)[0]
    y = [outcome.frames_per_s for outcome in outcomes]
    x = [outcome.energy["total"].typical / units.scale for outcome in outcomes]
    best = [number for number in range(len(x)) if not any(
        x[other] <= x[number] and y[other] >= y[number] and (x[other], y[other]) != (
            x[number], y[number]) for other in range(len(x)))]
    best.sort(key=lambda number: x[number])
    left.plot([x[number] for number in best], [y[number] for number in best], color=GREEN,
              linewidth=1, marker="o", markersize=12, fillstyle="none", label="Pareto front")
    left.set(xlabel=f"energy of an image, {units.energy} (typical)", ylabel=rate(outcomes))
    for axes in (left, *right):
        axes.margins(0.12)
        axes.grid(alpha=0.3)
    legend(left, outcomes, loc="best", fontsize=8)
    key(figure, outcomes)
    spots(left, outcomes, x, y, numbers)
    if noisy:
        outputs(right[0], [(number, outcome) for number, outcome in zip(
            numbers, outcomes, strict=True) if outcome.sqnr_db is not None])
    return figure


def outputs(axes, numbered: Sequence[tuple[int, Outcome]]) -> None:
    """Frames/s against the output's quality, of the points of which it is known."""
    top = max(outcome.sqnr_db for _, outcome in numbered if isfinite(outcome.sqnr_db))
    same = top + max(5.0, 0.25 * abs(top))
    seeded = any(outcome.seeded for _, outcome in numbered)
    axes.set(xlabel=f"output against dense, dB{' (seeded weights)' if seeded else ''}",
             ylabel=rate([outcome for _, outcome in numbered]))
    spots(axes, [outcome for _, outcome in numbered], [
        outcome.sqnr_db if isfinite(outcome.sqnr_db) else same for _, outcome in numbered],
        [outcome.frames_per_s for _, outcome in numbered], [number for number, _ in numbered])
    if any(not isfinite(outcome.sqnr_db) for _, outcome in numbered):
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= (top + same) / 2]
        axes.set_xticks([*ticks, same], [*(f"{tick:g}" for tick in ticks), "same\nbits"])
        axes.set_xlim(low, high)
        axes.axvline((top + same) / 2, color=GRAY, linewidth=1, linestyle=":")


def stalls(outcomes: Sequence[Outcome]) -> Figure:
    """What all multipliers did in all cycles: products, and every cause of none; the sum is 1."""
    shares = {"products": [outcome.utilization for outcome in outcomes]} | {
        cause: [outcome.losses[cause] / outcome.cycles for outcome in outcomes]
        for cause in CAUSES}
    shown = {cause: values for cause, values in shares.items() if max(values) >= 0.0005}
    figure = Figure(figsize=(11, 0.32 * len(outcomes) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(list(zip(*shown.values(), strict=True)), cmap="Blues", vmin=0, vmax=1,
                aspect="auto")
    for column, values in enumerate(shown.values()):
        for row, share in enumerate(values):
            axes.text(column, row, f"{share:.1%}" if share >= 0.0005 else "·", ha="center",
                      va="center", fontsize=8, color="white" if share > 0.6 else "black")
    axes.set_xticks(range(len(shown)), [cause.replace(" ", "\n") for cause in shown], fontsize=8)
    axes.set_yticks(range(len(outcomes)), names(outcomes), fontsize=8)
    axes.xaxis.tick_top()
    return figure
