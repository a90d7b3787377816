"""``deltamoe video``: frame after frame, by policy."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.video import PICTURE, pictures, play
from deltamoe.cli import (
    EnergyTable,
    HardwareName,
    Interval,
    JsonFile,
    Latency,
    ModelName,
    Task,
    app,
    bars,
    command,
    show,
)
from deltamoe.golden.temporal.policy import Policy
from deltamoe.host.files import write
from deltamoe.host.outputs import check_outputs
from deltamoe.lookup import file_of
from deltamoe.sim.energy.table import tables


@app.command()
@command
def video(
    model: ModelName,
    source: Annotated[str, typer.Option("--input", help=(
        "Video file, folder of images, generator:fixed, generator:object or generator:pan. Files "
        "are shown upright; what is transparent is black."))],
    hardware: HardwareName = "zcu102",
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(Policy)}, auto.")] = "auto",
    theta: Annotated[int, typer.Option(help="Largest difference that is left out.")] = 0,
    frames: Annotated[int, typer.Option(help="Most frames.")] = 16,
    task: Task = 0,
    seed: Annotated[int, typer.Option(help="Seed of a generator.")] = 0,
    engine: Annotated[str, typer.Option(help="simulator, or rtl for the Verilog too.")] = (
        "simulator"),
    latency: Latency = 20,
    interval: Interval = 1,
    energy_table: EnergyTable = "asic_28nm",
    out: Annotated[Path | None, typer.Option(help="Folder for video.png.")] = None,
    json: JsonFile = None,
) -> None:
    """Run a video frame by frame and compare each with dense inference of the same frame."""
    check_outputs(json=json, folders={out: [PICTURE]} if out else {}, read=[
        file_of(model), file_of(energy_table, tables()), *pictures(source, out)])
    result = play(model, source, hardware, policy=policy, theta=theta, frames=frames, task=task,
                seed=seed, engine=engine, latency=latency, interval=interval,
                energy_table=energy_table, progress=bars)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write(out / PICTURE, result.picture())
    show(result, json)
