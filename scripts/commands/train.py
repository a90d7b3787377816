"""``deltamoe train``: the small network on the handwritten digits."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments import training
from deltamoe.golden.training.delta_train import DELTA_FILE
from deltamoe.golden.training.digits import FILES
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def train(
    dataset: Annotated[str, typer.Argument(help="digits")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    rtl: Annotated[bool, typer.Option(help="Also classify the test images by Verilog.")] = False,
    delta: Annotated[bool, typer.Option(help=(
        "Go on from golden/weights on sequences, with delta activations and without."))] = False,
    count: Annotated[int, typer.Option(help="With --delta, held-out digits.")] = training.HELD_OUT,
    json: JsonFile = None,
) -> None:
    """Train, quantize and evaluate the two-task network; takes minutes."""
    if dataset != "digits":
        raise ValueError(f"dataset {dataset!r} is not digits")
    if delta and rtl:
        raise ValueError("--rtl is for images, not for the sequences of --delta")
    training.check_count(count)
    check_outputs(json=json, folders={out: [DELTA_FILE] if delta else FILES})
    show(training.train_delta(out, seed, count, progress=bars) if delta
         else training.train(out, seed, rtl=rtl, progress=bars), json)
