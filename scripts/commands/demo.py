"""``deltamoe demo``: one image through every engine, and a page of where the cycles went."""

from pathlib import Path
from typing import Annotated

import typer

from deltamoe.cli import JsonFile, app, bars, command, show
from deltamoe.experiments import demonstration
from deltamoe.host.outputs import check_outputs

WHICH = ("digits", "saliency")


@app.command()
@command
def demo(
    which: Annotated[str, typer.Argument(help=" or ".join(WHICH) + ".")] = WHICH[0],
    image: Annotated[Path | None, typer.Option(
        help="With saliency: a photograph of your own, else one of scikit-learn's.")] = None,
    engine: Annotated[str | None, typer.Option(
        help="With saliency: integer, or rtl, the Verilog too, which takes long.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    json: JsonFile = None,
) -> None:
    """Run an image through every engine, and write a page of where the cycles went.

    digits: the network that comes along on nano, Verilog included, which is written too. saliency:
    a trained vision transformer of PyPI (90 MB) on zcu102, and its map of a photograph.
    """
    if which not in WHICH:
        raise ValueError(f"demo {which!r} is not one of {', '.join(WHICH)}")
    if which == "digits":
        if image or engine:
            raise ValueError(f"--{'image' if image else 'engine'} is for demo saliency")
        check_outputs(json=json, folders={out: demonstration.FILES})
        result = demonstration.demonstrate(out, progress=bars)
    else:
        from deltamoe.experiments import saliency

        check_outputs(json=json, read=[image], folders={out: saliency.FILES})
        result = saliency.demonstrate(out, image, engine=engine or "integer", progress=bars)
    show(result, json)
    if not result.agrees:
        raise typer.Exit(1)
