"""``deltamoe quantize``: float weights to integers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from golden.checkpoint import load
from golden.config import MODELS
from golden.images import check_image, load_image
from golden.model import build
from golden.picture import files_of
from golden.quantize import quantize as run
from golden.report import block_noise
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.outputs import check_outputs
from scripts.terminal import Table


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
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(MODELS)}")
    config = MODELS[model]
    if not images.is_dir():
        raise ValueError(f"{images} is not a folder")
    paths = files_of(images)
    check_outputs([out], json=json, read=[weights, *paths])
    for path in paths:
        check_image(path, config)
    real = build(config, load(weights, config))
    pixels = [load_image(path, config) for path in track(
        paths, "reading images", console=errors, disable=not errors.is_terminal)]
    quantized = run(real, pixels)
    noise = block_noise(real.float(), quantized, pixels[0])
    quantized.save(out)
    worst = min(noise, key=lambda block: block.own)
    result = {"model": model, "out": str(out), "images": len(paths), "loses_most": worst.layer,
              "blocks": [block._asdict() for block in noise]}
    if emit(result, json):
        return
    table = Table("block", "SQNR of the residual, dB", "of this block alone, dB")
    for block in noise:
        table.add_row(str(block.layer), f"{block.total:.1f}", f"{block.own:.1f}")
    console.print(table)
    console.print(f"{out}: block {worst.layer} loses most ({worst.own:.1f} dB)")
