"""``deltamoe import``: a network of another program."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.api.importing import import_network
from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.golden.config import ACTIVATIONS
from deltamoe.golden.importing.host import beside
from deltamoe.host.outputs import check_outputs


@app.command("import")
@command
def import_(
    source: Annotated[Path, typer.Argument(help=(
        "ONNX file; checkpoint of timm, Hugging Face, torchvision or M³ViT; folder of Hugging Face "
        "or Edge-MoE."))],
    out: Annotated[Path, typer.Option(help="File of the network to write.")],
    calibrate: Annotated[Path | None, typer.Option(help=(
        "Folder of pictures, or of one folder for each class: quantize with them."))] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads.")] = None,
    image: Annotated[str | None, typer.Option(help="Image size, HEIGHTxWIDTH.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Experts of a token.")] = None,
    norm: Annotated[str | None, typer.Option(help="layer or rms.")] = None,
    activation: Annotated[str | None, typer.Option(help=f"{', '.join(ACTIVATIONS)}.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Added to a row's variance.")] = None,
    container: Annotated[str | None, typer.Option(
        help="Which of several dictionaries of tensors.")] = None,
    preprocessing: Annotated[str | None, typer.Option(
        help="imagenet, half, edge-moe or a preprocessor_config.json.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of each channel, by commas.")] = None,
    std: Annotated[str | None, typer.Option(help="Of each channel, by commas.")] = None,
    scale: Annotated[float | None, typer.Option(help="Of a pixel, before. Else 1/255.")] = None,
    order: Annotated[str | None, typer.Option(help="Of channels: RGB or BGR.")] = None,
    interpolation: Annotated[str | None, typer.Option(help="How pictures are resized.")] = None,
    crop_share: Annotated[float | None, typer.Option(
        help="Share of a picture's shorter side that the network sees. Else all.")] = None,
    pad: Annotated[str | None, typer.Option(
        help="Instead show all of a picture, filled up around it: center or corner.")] = None,
    fill: Annotated[str | None, typer.Option(
        help="With what, 0..255 by commas. Else with what becomes zero.")] = None,
    json: JsonFile = None,
) -> None:
    """Make a network of another program one of ours, and quantize it if there are pictures."""
    check_outputs([out, beside(out)], json=json, read=[source, calibrate])
    show(import_network(
        source, out, calibrate=calibrate, progress=bars, heads=heads, image=image, top_k=top_k,
        norm=norm, activation=activation, epsilon=epsilon, container=container,
        preprocessing=preprocessing, mean=mean, std=std, scale=scale, order=order,
        interpolation=interpolation,
        crop_share=crop_share, pad=pad, fill=fill), json)
