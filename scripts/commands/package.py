"""``deltamoe package``: the accelerator for another tool."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.packaging import format_for
from deltamoe.api.packaging import package as write_package
from deltamoe.boards.packages import FORMATS
from deltamoe.cli import HardwareName, JsonFile, app, bars, command, show
from deltamoe.host.outputs import check_new_folder, check_outputs


@app.command()
@command
def package(
    form: Annotated[str, typer.Option("--as", help=f"Format: {', '.join(FORMATS)}.")],
    out: Annotated[Path, typer.Option(help="Folder to write, a new one.")],
    hardware: HardwareName = "nano",
    json: JsonFile = None,
) -> None:
    """Package the accelerator for another tool: Verilog, what describes it, and how to use it.

    What no open tool can check of a package is printed with it.
    """
    format_for(form, hardware)
    check_new_folder(out, json)
    check_outputs(json=json)
    show(write_package(hardware, form, out, progress=bars), json)
