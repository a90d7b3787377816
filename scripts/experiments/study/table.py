"""A study's outcomes for the terminal, as JSON and as CSV."""

import csv
import io
from collections.abc import Sequence

from deltamoe.experiments.points.outcome import Outcome
from deltamoe.experiments.study.answer import answer
from deltamoe.experiments.study.spec import Study
from deltamoe.sim.energy.table import Interval
from deltamoe.terminal import Table

SMALL = 0.05
"""Share of every point's energy below which a component is not shown by itself."""


class Units:
    """Units and components that suit all of some outcomes."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        most = max(outcome.energy["total"].typical for outcome in outcomes)
        self.scale, self.energy = (1e9, "mJ") if most >= 1e9 else (1e6, "uJ")
        self.large = [name for name in outcomes[0].energy if name != "total" and any(
            outcome.energy[name].typical >= SMALL * outcome.energy["total"].typical
            for outcome in outcomes)]
        self.differs = any(outcome.sqnr_db != float("inf") for outcome in outcomes)

    def interval(self, part: Interval, digits: int = 3) -> str:
        """Return an energy with its bounds, of so many digits, without the unit."""
        low, typical, high = (f"{float(f'{value / self.scale:.{digits}g}'):g}" for value in (
            part.low, part.typical, part.high))
        return f"{typical} ({low}-{high})"

    def parts(self, outcome: Outcome) -> dict[str, Interval]:
        """Return the energy of the large components, of all others, and of all."""
        rest = [part for name, part in outcome.energy.items()
                if name not in {*self.large, "total"}]
        energies = {name: outcome.energy[name] for name in self.large}
        if rest:
            energies["others"] = sum(rest[1:], rest[0])
        return energies | {"total": outcome.energy["total"]}

    def head(self) -> tuple[str, ...]:
        """Return the table's columns; the output's only if one is not that of dense inference."""
        columns = ("point", "by", "cycles", "frames/s", "speed-up", f"energy, {self.energy}", "MB",
                   "busy", "output")
        return columns if self.differs else columns[:-1]

    def cells(self, outcome: Outcome) -> list[str]:
        """Return a point's row of the table."""
        cells = [outcome.label, outcome.executes, f"{outcome.cycles:,.0f}",
                 f"{outcome.frames_per_s:,.1f}", f"{outcome.speedup:.2f}",
                 self.interval(outcome.energy["total"]), f"{outcome.bytes / 1e6:.2f}",
                 f"{outcome.utilization:.1%}", outcome.quality]
        return cells if self.differs else cells[:-1]


def plain(*columns: str) -> Table:
    """Return a table without lines."""
    table = Table(padding=(0, 1, 0, 0), box=None, header_style="bold")
    for name in columns:
        words = name in {"point", "by", "bound by", "output"}
        folds = name in {"point", "bound by"} or ", " in name
        table.add_column(name.replace(", ", ",\n").replace("-", "-\n").replace("/", "\n/"),
                         overflow="fold", justify="left" if words else "right", no_wrap=not folds,
                         max_width=12 if ", " in name else None)
    return table


def tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """Return the figures, the energy by component with low and high below, and what to know."""
    units = Units(outcomes)
    figures = plain("#", *units.head())
    spent = plain("#", "by", "bound by", *(f"{name}, {units.energy}".replace("_", " ")
                         for name in units.parts(outcomes[0])))
    for number, outcome in enumerate(outcomes, 1):
        figures.add_row(str(number), *units.cells(outcome))
        spent.add_row(str(number), outcome.executes, outcome.bound_by, *(
            units.interval(part, 2).replace(" (", "\n").removesuffix(")")
            for part in units.parts(outcome).values()))
    return [figures, spent, *differing(outcomes)]


def clocks(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each hardware: the clock of its frames/s, and the one with evidence."""
    lines = []
    for outcome in outcomes:
        supported, clock = outcome.point.clocks[0], outcome.point.clock
        lines.append(f"{outcome.point.hardware.label}: frames/s at {clock}" + (
            "" if supported == clock else f"; the evidence so far backs {supported}"))
    return list(dict.fromkeys(lines))


def rate(outcomes: Sequence[Outcome]) -> str:
    """Return the unit of frames/s, with the clock if it is that of all points."""
    stated = {str(outcome.point.clock) for outcome in outcomes}
    return f"frames/s at {stated.pop()}" if len(stated) == 1 else "frames/s at the point's clock"


def differing(outcomes: Sequence[Outcome]) -> list[Table]:
    """Return a table of how the policies differ from their sources, if any does."""
    lines = {outcome.point.policy.label: outcome.differs for outcome in outcomes if outcome.differs}
    table = Table("policy", "how it differs from its source", padding=(0, 1, 0, 0), box=None,
                  header_style="bold")
    for row in lines.items():
        table.add_row(*row)
    return [table] if lines else []


def as_json(study: Study, outcomes: Sequence[Outcome]) -> dict:
    """Return everything."""
    return {"question": study.question, "answer": answer(study, outcomes),
            "energy_table": study.energy_table, "points": [
                {**outcome.row(), "counters": dict(outcome.counters),
                 "lost_cycles": dict(outcome.losses), "layers": [
                    {"name": str(layer.label), "cycles": layer.cycles, "macs": layer.macs,
                     "stalls": dict(layer.stalls)} for layer in outcome.layers]}
                for outcome in outcomes]}


def as_csv(outcomes: Sequence[Outcome]) -> str:
    """Return one line for each point."""
    rows = [outcome.row() for outcome in outcomes]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
