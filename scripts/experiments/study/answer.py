"""What the points of a study say: each against its baseline, and all of them in one line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from deltamoe.experiments.points.outcome import Outcome
from deltamoe.experiments.study.spec import Study
from deltamoe.sim.energy.table import find_table


def varied(study: Study) -> list[str]:
    """Return the axes with several values, or the model's if there is none."""
    return [axis for axis in study.AXES if len(study.labels(axis)) > 1] or ["model"]


def called(labels: Mapping[str, str], axes: Iterable[str]) -> str:
    """Return what a point's values on some axes are called."""
    return ", ".join(f"batch of {labels[axis]}" if axis == "batch" else labels[axis]
                     for axis in axes)


def baseline(study: Study) -> dict[str, str]:
    """Return the value of each axis of the baseline; of all that vary by default."""
    return {axis: str(value) for axis, value in study.baseline.items()} or {
        axis: study.labels(axis)[0] for axis in varied(study)}


def compared(study: Study, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the figures with the baseline's.

    A point's baseline has the study's value on the axes that it names, and else its own. All have
    the same components of energy.
    """
    known = {tuple(outcome.point.labels.values()): outcome for outcome in outcomes}
    fixed, figures = baseline(study), []
    nothing = find_table(study.energy_table).price("")
    parts = dict.fromkeys(name for outcome in known.values() for name in outcome.energy)
    for outcome in known.values():
        base = known[tuple((outcome.point.labels | fixed).values())]
        total = outcome.energy["total"]
        spent = {name: outcome.energy.get(name, nothing) for name in parts if name != "total"}
        figures.append(replace(
            outcome, energy=spent | {"total": total}, baseline=base.label,
            speedup=outcome.frames_per_s / base.frames_per_s,
            energy_ratio=total.typical / base.energy["total"].typical))
    return figures


def answer(study: Study, outcomes: Sequence[Outcome]) -> str:
    """Return one line: every point's speed against its baseline, the least energy, idle points.

    Points that differ from each other only on the axes of the baseline stand together. What
    executes stands behind each figure, or once if it is the same for all.
    """
    fixed = baseline(study)
    groups: dict[str, list[str]] = {}
    kinds = {outcome.executes for outcome in outcomes if outcome.label != outcome.baseline}
    every = f" ({min(kinds)})" if len(kinds) == 1 else ""
    for outcome in outcomes:
        labels = outcome.point.labels
        own, others = (called(labels, [axis for axis in varied(study) if (axis in fixed) == inside])
                       for inside in (True, False))
        if outcome.label != outcome.baseline:
            groups.setdefault(others, []).append(f"{own} {outcome.speedup:.2f}" + (
                "" if every else f" ({outcome.executes})"))
    warned = "".join(
        f" {outcome.label} skipped nothing: it has no fewer multiplications and weight bytes than "
        "dense inference." for outcome in outcomes if outcome.idle)
    if not groups:
        only = outcomes[0]
        return (f"{only.frames_per_s:,.0f} frames/s at {only.point.clock}, "
                f"{only.energy['total'].typical / 1e6:,.0f} uJ ({only.executes}).{warned}")
    lean = min((outcome for outcome in outcomes if outcome.label != outcome.baseline),
               key=lambda outcome: outcome.energy_ratio)
    base = called(fixed, fixed)
    line = "; ".join(f"{name}: {', '.join(parts)}" if name else ", ".join(parts)
                     for name, parts in groups.items())
    return (f"Frames/s{every} in multiples of those of {base}: {line}. Least energy: {lean.label}, "
            f"{lean.energy_ratio:.2f} times its baseline's ({lean.executes}).{warned}")
