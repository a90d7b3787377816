"""``deltamoe train``: the small network on the handwritten digits."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from golden.digits import evaluate, train_and_save
from scripts.cli import JsonFile, app, command, console, emit
from scripts.commands.infer import run_rtl
from scripts.lookup import hardware


@app.command()
@command
def train(
    dataset: Annotated[str, typer.Argument(help="digits")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    rtl: Annotated[bool, typer.Option(help="Also classify the test images by Verilog.")] = False,
    json: JsonFile = None,
) -> None:
    """Train, quantize and evaluate the two-task network; takes about two minutes."""
    if dataset != "digits":
        raise ValueError(f"dataset {dataset!r} is not digits")
    out.mkdir(parents=True, exist_ok=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        work = bar.add_task("training")
        network = train_and_save(
            seed, out, lambda done, total: bar.update(work, completed=done, total=total))
    nano = hardware("nano")
    engines = {"rtl": lambda image, task: run_rtl(network, nano, image, task)[0].predicted}
    result = {"seed": seed, "out": str(out),
              "accuracy": evaluate(network, **(engines if rtl else {}))}
    if not emit(result, json):
        for task, row in enumerate(result["accuracy"]):
            console.print(f"task {task}: " + ", ".join(
                f"{engine} {share:.2%}" for engine, share in row.items()))
