"""``deltamoe verilog``: the accelerator for synthesis."""

from pathlib import Path
from typing import Annotated

import typer

from rtl.accelerator import Accelerator
from rtl.generate import ports_json, to_verilog
from rtl.waivers import verilator_control
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.files import write_all
from scripts.lookup import hardware


@app.command()
@command
def verilog(
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    hardware_name: Annotated[str, typer.Option("--hardware", help="Hardware preset.")] = "nano",
    json: JsonFile = None,
) -> None:
    """Write synthesizable Verilog, its ports as JSON and what a lint by Verilator may ignore.

    The same bytes every time.
    """
    unit = Accelerator(hardware(hardware_name))
    with errors.status(f"generating {hardware_name}"):
        text = to_verilog(unit, "deltamoe")
    out.mkdir(parents=True, exist_ok=True)
    files = {out / "deltamoe.v": text, out / "deltamoe.json": ports_json(unit),
             out / "deltamoe.vlt": verilator_control("deltamoe.v")}
    write_all(files)
    result = {"hardware": hardware_name, "files": [str(path) for path in files],
              "lines": text.count("\n")}
    if not emit(result, json):
        console.print(f"{out / 'deltamoe.v'}: {result['lines']:,} lines")
