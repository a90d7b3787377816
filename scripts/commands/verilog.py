"""``deltamoe verilog``: the accelerator for synthesis."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.generation import FILES, generate
from deltamoe.boards import hardware as preset
from deltamoe.cli import HardwareName, JsonFile, app, bars, command, show
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def verilog(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    hardware: HardwareName = "nano",
    json: JsonFile = None,
) -> None:
    """Write synthesizable Verilog, its ports as JSON and what a lint by Verilator may ignore.

    The same bytes every time.
    """
    preset(hardware)
    check_outputs(json=json, folders={out: FILES})
    with bars.bar(f"generating {hardware}"):
        result = generate(hardware, out)
    show(result, json)
