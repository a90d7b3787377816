"""``deltamoe bitstream``: a SoC with the accelerator for a board."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.bitstream import BAUD, CLOCK_MHZ, FITTING, check_bitstream
from deltamoe.api.bitstream import bitstream as built
from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.host.outputs import check_new_folder, check_outputs


@app.command()
@command
def bitstream(
    out: Annotated[Path, typer.Option(help="Folder to write, a new one.")],
    board: Annotated[str, typer.Option(help=f"Board: {', '.join(FITTING)}.")] = "ulx3s",
    hardware: Annotated[str, typer.Option(help="Accelerator: nano, ulx3s.")] = "nano",
    clock_mhz: Annotated[float, typer.Option(help="Clock of the whole SoC.")] = CLOCK_MHZ,
    seed: Annotated[int, typer.Option(help="Where the placer begins.")] = 1,
    baud: Annotated[int, typer.Option(help="Bits per second of the UART.")] = BAUD,
    allow_slow: Annotated[bool, typer.Option(help="Write it even if timing is not met.")] = False,
    json: JsonFile = None,
) -> None:
    """Build a bitstream by LiteX, Yosys and nextpnr: half an hour and more; what they make is kept.

    The SoC has the accelerator, a controller of SDRAM, and a bridge from the UART to all of it.
    """
    check_bitstream(board, hardware, clock_mhz, seed, baud)
    check_new_folder(out, json)
    check_outputs(json=json)
    show(built(hardware, out, board=board, clock_mhz=clock_mhz, seed=seed, baud=baud,
               allow_slow=allow_slow, progress=bars), json)
