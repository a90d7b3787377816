"""``deltamoe accuracy``: what leaving out small differences costs, on sequences of digits."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments.accuracy import PICTURE
from deltamoe.experiments.accuracy import accuracy as measured
from deltamoe.host.outputs import check_outputs
from deltamoe.lookup import file_of


@app.command()
@command
def accuracy(
    model: Annotated[str, typer.Argument(help="digits, or a quantized file of its kind.")],
    theta: Annotated[list[int] | None, typer.Option(
        help="Largest difference that is left out; may be repeated.")] = None,
    count: Annotated[int, typer.Option(help="Held-out digits.")] = 90,
    seed: Annotated[int, typer.Option(help="Seed of ways and noise.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for accuracy.png.")] = Path("out"),
    json: JsonFile = None,
) -> None:
    """Show accuracy, SQNR and density by theta on moving and noisy digits; takes minutes."""
    check_outputs(json=json, read=[file_of(model)], folders={out: [PICTURE]})
    show(measured(model, out, theta or (0, 1, 2, 4, 8), count, seed, progress=bars), json)
