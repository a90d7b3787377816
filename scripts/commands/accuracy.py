"""``deltamoe accuracy``: what leaving out small differences costs, on sequences of digits."""

from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from rich.table import Table

from golden.images import TEST_IMAGES
from golden.library import find
from golden.sequences import KINDS
from scripts.cli import JsonFile, app, check_folder, command, console, emit
from scripts.page import BLUE, GREEN, ORANGE
from scripts.tallies import TASKS, tallies


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
    if json is not None and str(json) != "-":
        check_folder(json)
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
    draw(result, out / "accuracy.png")
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


def draw(result: dict, path: Path) -> None:
    """Draw accuracy and SQNR against density, a point for each theta."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    figure.suptitle(f"{result['model']}: policy delta by theta, frames behind the first")
    right, noise = figure.subplots(1, 2)
    for kind, color in zip(KINDS, (BLUE, ORANGE, GREEN), strict=True):
        for task, (style, marker) in zip(TASKS, (("-", "o"), ("--", "s")), strict=True):
            rows = [row for row in result["rows"] if (row["kind"], row["task"]) == (kind, task)]
            for axes, name, scale in ((right, "accuracy", 100), (noise, "sqnr_db", 1)):
                known = [row for row in rows if row[name] is not None]
                x = [100 * row["density"] for row in known]
                y = [scale * row[name] for row in known]
                axes.plot(x, y, color=color, ls=style, marker=marker, ms=4, label=f"{kind}, {task}")
                for row, *point in zip(known, x, y, strict=True) if style == "-" else ():
                    axes.annotate(f"{row['theta']}", point, (3, 4), textcoords="offset points",
                                  fontsize=7, color=color)
    right.set(xlabel="density of events, % of multiplications", ylabel="accuracy, % of frames")
    noise.set(xlabel="density of events, % of multiplications",
              ylabel="SQNR of the tokens against dense, dB",
              title="theta 0 is exact and has no point")
    right.set_title("numbers: theta, at the digits' points")
    right.set_ylim(top=100.5)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)
