"""``deltamoe sweep``: explore hardware for throughput, energy and area."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.sweeps import FILES
from deltamoe.api.sweeps import sweep as explored
from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments.sweep.spec import find
from deltamoe.host.files import write_all
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def sweep(
    spec: Annotated[str, typer.Argument(
        metavar="SPEC", help="YAML file, or the name of a sweep that comes with the program.")],
    out: Annotated[Path | None, typer.Option(
        help="Folder of the record and of pareto.png; else out/ and the spec's name.")] = None,
    workers: Annotated[int | None, typer.Option(
        min=1, help="Processes; by default as many as there are cores.")] = None,
    cluster: Annotated[str | None, typer.Option(
        help="Dask scheduler to use instead, as tcp://host:8786.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all points here.")] = None,
    json: JsonFile = None,
) -> None:
    """Explore hardware for throughput, energy and area; one that was stopped goes on."""
    path = find(spec)
    out = out or Path("out") / path.stem
    check_outputs([csv], json=json, read=[path], folders={out: FILES})
    result = explored(spec, out, workers=workers, scheduler=cluster, progress=bars)
    written = {result.folder / FILES[1]: result.picture()}
    if csv:
        written[csv] = result.csv().encode()
    write_all(written)
    show(result, json)
