"""``deltamoe infer``: one image through one engine."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.inference import ENGINES
from deltamoe.api.inference import infer as inferred
from deltamoe.boards import hardware as preset
from deltamoe.cli import HardwareName, JsonFile, ModelName, Task, app, bars, command, show
from deltamoe.host.outputs import check_outputs
from deltamoe.lookup import file_of


@app.command()
@command
def infer(
    model: ModelName,
    image: Annotated[Path, typer.Option(help=(
        "Any picture if the network's file has its preprocessing, else one of its size; shown "
        "upright, what is transparent is black."))],
    hardware: HardwareName = "nano",
    engine: Annotated[str, typer.Option(help="float, integer or rtl.")] = "integer",
    task: Task = 0,
    trace: Annotated[Path | None, typer.Option(
        help="With --engine rtl: write a Perfetto trace of simulator, Verilog and differences.")
    ] = None,
    outputs: Annotated[Path | None, typer.Option(
        help="Write what the host makes of the tokens, under the names of its network, as .npz.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Run one image through the float network, the integer network or the Verilog."""
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    if trace and engine != "rtl":
        raise ValueError(f"--trace needs --engine rtl, not {engine}; deltamoe simulate --trace "
                         "has the simulator's")
    check_outputs([trace, outputs], json=json, read=[file_of(model), image])
    preset(hardware)
    if engine == "rtl":
        from deltamoe.api.verilog import run_verilog

        result = run_verilog(model, hardware, task=task, image=image, trace=trace, progress=bars)
    else:
        result = inferred(model, image, hardware=hardware, engine=engine, task=task)
    if outputs:
        result.save_outputs(outputs)
    show(result, json)
