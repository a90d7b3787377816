"""``deltamoe place-and-route``: how fast the clock of the accelerator or a unit may be."""

from typing import Annotated

import typer

from deltamoe.api.place_and_route import WHOLE
from deltamoe.api.place_and_route import place_and_route as routed
from deltamoe.boards import hardware as preset
from deltamoe.cli import HardwareName, JsonFile, app, bars, command, show
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def place_and_route(
    hardware: HardwareName = "ulx3s",
    target: Annotated[str, typer.Option(help="Family of the part: ecp5.")] = "ecp5",
    unit: Annotated[str, typer.Option(
        help="Unit, with all that is in it; without it, the whole accelerator.")] = WHOLE,
    clock: Annotated[float, typer.Option(help="Clock to aim at, in MHz.")] = 60,
    seed: Annotated[int, typer.Option(help="Where the placer begins.")] = 1,
    json: JsonFile = None,
) -> None:
    """Place and route with nextpnr: the fastest clock (half an hour and more for all of it)."""
    check_outputs(json=json)
    show(routed(preset(hardware), unit, target=target, clock_mhz=clock, seed=seed, progress=bars),
         json)
