"""``deltamoe quantize``: float weights to integers."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.networks import quantize as quantized
from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def quantize(
    weights: Annotated[Path, typer.Option(
        help="Edge-MoE folder, training checkpoint or safetensors file.")],
    images: Annotated[Path, typer.Option(help=(
        "Folder of calibration images of the network's size; what is transparent is black."))],
    out: Annotated[Path, typer.Option(help="Quantized file to write.")],
    model: Annotated[str, typer.Option(help="Preset that the weights belong to.")] = "digits",
    json: JsonFile = None,
) -> None:
    """Quantize weights with the ranges seen on calibration images; say what it costs by block."""
    check_outputs([out], json=json, read=[weights, images])
    show(quantized(model, weights, images, out, progress=bars), json)
