"""Comparisons: what a study asks of models, hardware, policies and memories, answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Pictured, Result
from deltamoe.experiments.points.evaluate import Evaluator
from deltamoe.experiments.points.outcome import Outcome, measured
from deltamoe.experiments.points.point import Point
from deltamoe.experiments.reading import bundled, checked
from deltamoe.experiments.study.answer import answer, called, compared, varied
from deltamoe.experiments.study.spec import BUNDLED, Study, read
from deltamoe.experiments.study.table import Units, as_csv, as_json, clocks, tables
from deltamoe.rtl.compiler.entry import check_network
from deltamoe.terminal import Table


@dataclass(frozen=True)
class Comparison(Pictured):
    """A study and the figures that answer it.

    Attributes
    ----------
    study : Study
        The question, and the values of each axis.
    outcomes : sequence of Outcome
        Figures of one image for every combination of them, with those of its baseline.
    """

    study: Study
    outcomes: Sequence[Outcome]

    @property
    def answer(self) -> str:
        """The answer in one line."""
        return answer(self.study, self.outcomes)

    def figures(self) -> dict:
        return as_json(self.study, self.outcomes)

    def table(self) -> Group:
        known = dict.fromkeys(outcome.known for outcome in self.outcomes
                              if outcome.point.model.trace)
        return Group(Text(self.study.question, style="bold"), *tables(self.outcomes),
                     *(Text(line, no_wrap=True, overflow="ignore") for line in (
                         *clocks(self.outcomes), *known)),
                     Text(self.answer))

    def csv(self) -> str:
        """Return one line for each point."""
        return as_csv(self.outcomes)

    def picture(self) -> bytes:
        """Return a PNG of speed, energy and output of all points, with the Pareto front."""
        from deltamoe.experiments.study.figures import pareto
        from deltamoe.page import png

        return png(pareto(self.outcomes, Units(self.outcomes)), dpi=110, bbox_inches="tight")

    def write(self, folder: str | Path) -> None:
        """Write ``report.html`` and its pictures into a folder, which is made if need be."""
        from deltamoe.experiments.study import report

        report.write(self.study, self.outcomes, Path(folder))


def compare(study: str | Path | Mapping | Study, *, progress: Progress = QUIET) -> Comparison:
    """Combine models, hardware, policies and memories; compare cycles, energy and output.

    Parameters
    ----------
    study : str, Path, mapping or Study
        A study that comes along, by name; a YAML file; or what such a file holds: ``question``,
        ``models``, ``hardware``, and where they vary ``policies``, ``memory``, ``inputs``,
        ``batch``, ``baseline``, ``energy_table``.
    progress : Progress
        Is told of every point.

    Raises
    ------
    ValueError
        Names the file, the place in it and what is allowed; or the point that cannot be.
    """
    if isinstance(study, Mapping):
        study = checked(Study, study, "study")
    elif not isinstance(study, Study):
        study = read(str(study))
    evaluator, wanted, axes = Evaluator(operands=study.operands), list(study.points), varied(study)
    for point in wanted:
        if not point.model.trace:
            check_network(point.model.config, point.hardware.config, point.model.task)

    def outcome(point: Point) -> Outcome:
        labels = point.labels
        try:
            run = evaluator.run(point)
        except ValueError as error:
            raise ValueError(f"{', '.join(labels.values())}: {error}") from None
        return measured(point, run, study.energy_table, called(labels, axes))

    return Comparison(study, compared(study, map(outcome, progress.each(wanted, "points"))))


@dataclass(frozen=True)
class Studies(Result):
    """The studies that come along, and their questions."""

    questions: Mapping[str, str]

    def figures(self) -> dict:
        return dict(self.questions)

    def table(self) -> Table:
        table = Table("study", "question", box=None)
        for row in self.questions.items():
            table.add_row(*row)
        return table


def studies() -> Studies:
    """Return the studies that come along."""
    return Studies({name: read(name).question for name in bundled(BUNDLED)})
