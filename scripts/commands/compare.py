"""``deltamoe compare``: a study's question, answered."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.comparison import compare as answered
from deltamoe.api.comparison import studies
from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments.reading import bundled
from deltamoe.experiments.study import report
from deltamoe.experiments.study.spec import BUNDLED, read
from deltamoe.host.files import write
from deltamoe.host.outputs import check_outputs
from deltamoe.lookup import file_of


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
        check_outputs(json=json)
        show(studies(), json)
        return
    study = read(spec)
    check_outputs([csv], json=json, read=[file_of(spec, bundled(BUNDLED)), *study.files],
                  folders={out: report.FILES} if out else {})
    result = answered(study, progress=bars)
    if out is not None:
        result.write(out)
    if csv is not None:
        write(csv, result.csv())
    show(result, json)
