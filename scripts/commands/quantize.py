"""``deltamoe quantize``: float weights to integers."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.networks import quantize as quantized
from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.golden.importing.host import beside
from deltamoe.host.outputs import check_outputs


@app.command()
@command
def quantize(
    network: Annotated[Path, typer.Argument(
        help="Network in floating point, as deltamoe import writes it.")],
    images: Annotated[Path, typer.Option(help=(
        "Folder of calibration pictures, or of one folder for each class."))],
    out: Annotated[Path, typer.Option(help="Quantized file to write.")],
    json: JsonFile = None,
) -> None:
    """Quantize weights with the ranges seen on calibration images; say what it costs by block."""
    check_outputs([out, beside(out)], json=json, read=[network, images])
    show(quantized(network, images, out, progress=bars), json)
