"""``deltamoe accuracy``: on a folder of images, or on digits with small differences left out."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.cli import HardwareName, JsonFile, ModelName, Task, app, bars, command, show
from deltamoe.experiments.accuracy import PICTURE
from deltamoe.experiments.accuracy import accuracy as measured
from deltamoe.host.outputs import check_outputs
from deltamoe.lookup import file_of


@app.command()
@command
def accuracy(
    model: ModelName,
    images: Annotated[Path | None, typer.Option(help=(
        "Folder of images, or of one folder for each class; without it, sequences of digits."))
    ] = None,
    labels: Annotated[Path | None, typer.Option(
        help="With --images: file with an image's name and its class in every line.")] = None,
    reference: Annotated[str | None, typer.Option(
        help="With --images: the network in floating point, if the file holds integers.")] = None,
    rtl: Annotated[int, typer.Option(
        help="With --images: images that the Verilog computes too.")] = 0,
    hardware: HardwareName = "nano",
    task: Task = 0,
    theta: Annotated[list[int] | None, typer.Option(
        help="Digits: largest difference that is left out; may be repeated.")] = None,
    count: Annotated[int, typer.Option(help="Digits: how many, held out.")] = 90,
    seed: Annotated[int, typer.Option(help="Digits: seed of ways and noise.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for accuracy.png.")] = Path("out"),
    json: JsonFile = None,
) -> None:
    """Show how often a network is right in floating point, integers and Verilog, by intervals.

    Without --images: accuracy, SQNR and density by theta on moving and noisy digits, in minutes.
    """
    check_outputs(json=json, read=[file_of(model), reference, labels, images],
                  folders={out: [PICTURE]})
    if images is None:
        if labels or reference or rtl:
            raise ValueError("--labels, --reference and --rtl need --images")
        show(measured(model, out, theta or (0, 1, 2, 4, 8), count, seed, progress=bars), json)
        return
    from deltamoe.experiments.evaluation import evaluate

    show(evaluate(model, images, out, labels=labels, reference=reference, rtl=rtl,
                  hardware=hardware, task=task, progress=bars), json)
