"""``deltamoe compare``: a study's question, answered."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from rtl.compiler import check
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.files import write
from scripts.host.outputs import check_outputs
from scripts.lookup import file_of
from scripts.study import report
from scripts.study.evaluate import Evaluator, points
from scripts.study.outcome import answer, compared, measured
from scripts.study.spec import bundled, read
from scripts.study.table import as_csv, as_json, tables
from scripts.terminal import Table


@app.command()
@command
def compare(
    spec: Annotated[str | None, typer.Argument(
        help="YAML file, or a study that comes along.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name those that come along.")] = False,
    out: Annotated[Path | None, typer.Option(
        help="Folder for report.html and its pictures.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    json: JsonFile = None,
) -> None:
    """Combine models, hardware, policies and memories; compare cycles, energy and output."""
    if listed or spec is None:
        studies = {name: read(name).question for name in bundled()}
        if not emit(studies, json):
            table = Table("study", "question", box=None)
            for row in studies.items():
                table.add_row(*row)
            console.print(table)
        return
    study = read(spec)
    check_outputs([csv], json=json, read=[file_of(spec, bundled()), *study.files],
                  folders={out: report.FILES} if out else {})
    evaluator, wanted = Evaluator(study), list(points(study))
    for point in wanted:
        if not point.model.trace:
            check(point.model.config, point.hardware.config, point.model.task)
    outcomes = compared(study, [measured(study, point, evaluator.run(point)) for point in track(
        wanted, "points", console=errors, transient=True, disable=not errors.is_terminal)])
    if out is not None:
        report.write(study, outcomes, out)
    if csv is not None:
        write(csv, as_csv(outcomes))
    if emit(as_json(study, outcomes), json):
        return
    console.print(study.question, style="bold", highlight=False)
    for table in tables(outcomes):
        console.print(table)
    for known in dict.fromkeys(outcome.known for outcome in outcomes if outcome.point.model.trace):
        console.print(known, highlight=False, markup=False, soft_wrap=True)
    console.print(answer(study, outcomes), highlight=False)
