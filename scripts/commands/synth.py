"""``deltamoe synth``: what the accelerator needs of a part, by unit."""

from typing import Annotated

import typer

from deltamoe.api.depth import levels
from deltamoe.api.synthesis import check_target, synthesize
from deltamoe.api.synthesis import estimate as estimated
from deltamoe.boards import hardware as preset
from deltamoe.cli import HardwareName, JsonFile, app, bars, command, show
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def synth(
    hardware: HardwareName = "nano",
    target: Annotated[str, typer.Option(help="Family of the part: xcup or ecp5.")] = "xcup",
    unit: Annotated[list[str] | None, typer.Option(
        help="Only this unit; may be repeated. Without it, all.")] = None,
    estimate: Annotated[bool, typer.Option(
        "--estimate", help="By the model that sweeps use, and its errors; without Yosys.")] = False,
    depth: Annotated[bool, typer.Option(
        "--depth", help="LUT levels between registers of the whole accelerator.")] = False,
    json: JsonFile = None,
) -> None:
    """Synthesize with Yosys and count LUTs, flip-flops, multipliers and memory blocks by unit."""
    hw = preset(hardware)
    check_target(target, unit or ())
    check_outputs(json=json)
    if depth:
        if estimate or unit:
            raise ValueError("--depth is of the whole accelerator: no --unit, no --estimate")
        show(levels(hw, target, progress=bars), json)
    elif estimate:
        if target != "xcup" or unit:
            raise ValueError("--estimate knows all of the accelerator on xcup, no --unit")
        show(estimated(hw), json)
    else:
        show(synthesize(hw, target, unit or (), progress=bars), json)
