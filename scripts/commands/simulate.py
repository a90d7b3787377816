"""``deltamoe simulate``: cycles, counters and energy without the hardware."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.simulation import simulate as simulated
from deltamoe.cli import (
    EnergyTable,
    HardwareName,
    Interval,
    JsonFile,
    Latency,
    ModelName,
    Task,
    app,
    command,
    show,
)
from deltamoe.host.outputs import check_outputs
from deltamoe.lookup import file_of
from deltamoe.sim.energy.accelergy import FILES as ACCELERGY
from deltamoe.sim.energy.table import tables


@app.command()
@command
def simulate(
    model: ModelName,
    hardware: HardwareName = "nano",
    task: Task = 0,
    image: Annotated[Path | None, typer.Option(
        help="Image that decides the routing; else a preset's own, or drawn at random.")] = None,
    mode: Annotated[str, typer.Option(help="dense, or zero-skip (needs an image).")] = "dense",
    latency: Latency = 20,
    interval: Interval = 1,
    energy_table: EnergyTable = "asic_28nm",
    clock_mhz: Annotated[float | None, typer.Option(
        help="Clock, for frames/s and static energy; else those of the hardware.")] = None,
    fps: Annotated[float, typer.Option(
        help="Frames a second; the time left until the next is idle. 0: none follows.")] = 0.0,
    trace: Annotated[Path | None, typer.Option(help="Write a Perfetto trace here.")] = None,
    accelergy: Annotated[Path | None, typer.Option(
        help="Folder for ERT.yaml and action_counts.yaml, as Accelergy reads them.")] = None,
    json: JsonFile = None,
) -> None:
    """Predict every counter of the hardware, the cycles of every layer, and the energy."""
    if mode not in ("dense", "zero-skip"):
        raise ValueError(f"mode {mode!r} is neither dense nor zero-skip")
    if mode == "zero-skip" and image is None:
        raise ValueError("mode zero-skip needs --image, since events depend on the data")
    check_outputs([trace], json=json, read=[file_of(model), image, file_of(energy_table, tables())],
                  folders={accelergy: ACCELERGY} if accelergy else {})
    result = simulated(model, hardware, task=task, policy=mode, image=image, latency=latency,
                       interval=interval, energy_table=energy_table, clock_mhz=clock_mhz, fps=fps)
    result.write(trace, accelergy)
    show(result, json)
