"""``deltamoe demo``: one image through every engine, and a page of where the cycles went."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments.demonstration import FILES, demonstrate
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    json: JsonFile = None,
) -> None:
    """Quantize the digits network, run a digit through every engine, write Verilog and a page."""
    check_outputs(json=json, folders={out: FILES})
    result = demonstrate(out, progress=bars)
    show(result, json)
    if not result.agrees:
        raise typer.Exit(1)
