"""``deltamoe verilog``: the accelerator for synthesis."""

from pathlib import Path
from typing import Annotated

import typer

from rtl.accelerator import Accelerator
from rtl.generate import ports_json, to_verilog
from rtl.waivers import verilator_control
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.files import write_all
from scripts.host.outputs import check_outputs
from scripts.lookup import hardware

FILES = ("deltamoe.v", "deltamoe.json", "deltamoe.vlt")


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
    hw, paths = hardware(hardware_name), [out / name for name in FILES]
    check_outputs(json=json, folders={out: FILES})
    unit = Accelerator(hw)
    with errors.status(f"generating {hardware_name}"):
        text = to_verilog(unit, "deltamoe")
    out.mkdir(parents=True, exist_ok=True)
    write_all(dict(zip(paths, (text, ports_json(unit), verilator_control(FILES[0])), strict=True)))
    result = {"hardware": hardware_name, "files": [str(path) for path in paths],
              "lines": text.count("\n")}
    if not emit(result, json):
        console.print(f"{paths[0]}: {result['lines']:,} lines")
