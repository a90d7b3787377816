"""``deltamoe bench``: the figures of the README, beside the limits and other accelerators."""

from typing import Annotated

import typer

from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments.benchmark import LONG, PARTS, benchmark
from deltamoe.experiments.peers.compare import measured
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def bench(
    only: Annotated[str, typer.Option(
        help=f"One of {', '.join(PARTS)}; or {', '.join(LONG)}, which take up to hours.")] = "",
    rtl: Annotated[bool, typer.Option(help="Check against the Verilog (minutes).")] = True,
    peers: Annotated[bool, typer.Option(help="Only SCALE-Sim and ZigZag, beside ours.")] = False,
    json: JsonFile = None,
) -> None:
    """Measure speed, bytes, the simulator and the area, each figure beside its limit."""
    if only and only not in (*PARTS, *LONG):
        raise ValueError(f"part {only!r} is not one of {', '.join((*PARTS, *LONG))}")
    check_outputs(json=json)
    show(measured(bars) if peers else benchmark(only, rtl=rtl, progress=bars), json)
