"""``deltamoe accuracy``: what leaving out small differences costs, on sequences of digits."""

from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from golden.images import TEST_IMAGES
from golden.library import find
from golden.sequences import KINDS
from scripts.cli import JsonFile, app, command, console, emit
from scripts.host.files import write
from scripts.host.outputs import check_outputs
from scripts.lookup import file_of
from scripts.page import BLUE, GREEN, ORANGE, png
from scripts.tallies import TASKS, tallies
from scripts.terminal import Table

PICTURE = "accuracy.png"


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
    thetas = sorted(set(theta or (0, 1, 2, 4, 8)))
    if thetas[0] < 0:
        raise ValueError(f"theta {thetas[0]} is negative")
    if not 1 <= count <= TEST_IMAGES:
        raise ValueError(f"count {count} is not in 1..{TEST_IMAGES}")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative")
    check_outputs(json=json, read=[file_of(model)], folders={out: [PICTURE]})
    network = find(model).quantized
    if network.config.name != "digits":
        raise ValueError(f"model {model!r} is a {network.config.name}, not digits")
    out.mkdir(parents=True, exist_ok=True)
    made = tallies({model: network}, thetas, count, seed)
    rows = [{"kind": cell.kind, "theta": value, "task": TASKS[cell.task],
             "accuracy": found.accuracy, "sqnr_db": found.sqnr_db, "density": found.density,
             "events_per_frame": found.events / found.frames}
            for cell, all_found in made.items()
            for value, found in zip(thetas, all_found, strict=True)]
    result = {"model": Path(model).name, "digits": count, "seed": seed, "rows": rows}
    write(out / PICTURE, draw(result))
    if not emit(result, json):
        tell(result)


def tell(result: dict) -> None:
    """Print one row for each kind of sequences and theta."""
    table = Table("sequences", "theta", "accuracy", "SQNR", "density",
                  title=f"{result['model']}, {result['digits']} held-out digits, frames behind the "
                        f"first; {' / '.join(TASKS)}; SQNR against dense inference")
    rows = sorted(result["rows"], key=lambda row: KINDS.index(row["kind"]))
    for pair in zip(*([row for row in rows if row["task"] == task] for task in TASKS),
                    strict=True):
        table.add_row(
            pair[0]["kind"], str(pair[0]["theta"]),
            " / ".join(f"{row['accuracy']:.2%}" for row in pair),
            " / ".join("exact" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
                       for row in pair) + ("" if pair[0]["sqnr_db"] is None else " dB"),
            " / ".join(f"{row['density']:.1%}" for row in pair))
    console.print(table)


def draw(result: dict) -> bytes:
    """Return a PNG of accuracy, SQNR and density against theta."""
    thetas = sorted({row["theta"] for row in result["rows"]})
    figure = Figure(figsize=(9.7, 3.3), layout="constrained")
    figure.suptitle(f"{result['model']}: policy delta, {result['digits']} held-out digits, "
                    "frames behind the first")
    panels = (("accuracy", 100, "accuracy, % of frames"),
              ("sqnr_db", 1, "SQNR against dense, dB"),
              ("density", 100, "density, % of multiplications"))
    for axes, (name, scale, label) in zip(figure.subplots(1, 3), panels, strict=True):
        for kind, color, marker in zip(KINDS, (BLUE, ORANGE, GREEN), "osD", strict=True):
            for task, style in zip(TASKS, ("-", "--"), strict=True):
                rows = [row for row in result["rows"]
                        if (row["kind"], row["task"]) == (kind, task) and row[name] is not None]
                axes.plot([thetas.index(row["theta"]) for row in rows],
                          [scale * row[name] for row in rows], color=color, ls=style,
                          marker=marker, ms=5, mfc="none", label=f"{kind}, {task}")
        axes.set(xlabel="theta, codes", ylabel=label, xlim=(-0.3, len(thetas) - 0.7))
        axes.set_xticks(range(len(thetas)), thetas)
        axes.grid(alpha=0.3)
        if name == "sqnr_db":
            axes.set_title("theta 0 is exact and has no point", fontsize=9)
        else:
            axes.set_ylim(0 if name == "density" else None, 100)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return png(figure, dpi=84, pil_kwargs={"optimize": True})
