"""``deltamoe train``: the small network on the handwritten digits."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from golden.digits import evaluate, train_and_save
from scripts.cli import JsonFile, app, command, console, emit


@app.command()
@command
def train(
    dataset: Annotated[str, typer.Argument(help="digits")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
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
    result = {"seed": seed, "out": str(out), "accuracy": evaluate(network)}
    if not emit(result, json):
        for task, row in enumerate(result["accuracy"]):
            console.print(f"task {task}: float {row['float']:.2%}, integer {row['integer']:.2%}")
