"""``deltamoe build``: a network for a board's driver."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.building import FILES
from deltamoe.api.building import build as built
from deltamoe.boards import hardware as preset
from deltamoe.cli import HardwareName, JsonFile, ModelName, Task, app, bars, command, show
from deltamoe.host.outputs import check_outputs
from deltamoe.lookup import file_of


@app.command()
@command
def build(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    hardware: HardwareName = "nano",
    task: Task = 0,
    json: JsonFile = None,
) -> None:
    """Write program and weights as one memory image, and the manifest of all that a driver needs.

    The drivers for C and Python are in boards/driver.
    """
    preset(hardware)
    check_outputs(json=json, read=[file_of(model)], folders={out: FILES})
    with bars.bar(f"building {model} for {hardware}"):
        result = built(model, hardware, out, task=task)
    show(result, json)
