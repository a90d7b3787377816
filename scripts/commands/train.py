"""``deltamoe train``: the small network on the handwritten digits."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from golden.delta_train import DELTA_FILE, LOOKED_AT, train_on_sequences
from golden.digits import FILES, evaluate, train_and_save
from golden.images import TEST_IMAGES
from golden.library import find
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.commands.infer import run_rtl
from scripts.host.outputs import check_outputs
from scripts.lookup import hardware
from scripts.rtl_engine.engine import check_buildable
from scripts.tallies import TASKS, tallies
from scripts.terminal import Table

HELD_OUT = TEST_IMAGES - LOOKED_AT
WAYS = {"without": False, "with": True}


@app.command()
@command
def train(
    dataset: Annotated[str, typer.Argument(help="digits")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    rtl: Annotated[bool, typer.Option(help="Also classify the test images by Verilog.")] = False,
    delta: Annotated[bool, typer.Option(help=(
        "Go on from golden/weights on sequences, with delta activations and without."))] = False,
    count: Annotated[int, typer.Option(help="With --delta, held-out digits.")] = HELD_OUT,
    json: JsonFile = None,
) -> None:
    """Train, quantize and evaluate the two-task network; takes minutes."""
    if dataset != "digits":
        raise ValueError(f"dataset {dataset!r} is not digits")
    if delta and rtl:
        raise ValueError("--rtl is for images, not for the sequences of --delta")
    if not 1 <= count <= HELD_OUT:
        raise ValueError(f"count {count} is not in 1..{HELD_OUT}")
    nano = hardware("nano")
    if rtl:
        check_buildable(nano)
    check_outputs(json=json, folders={out: [DELTA_FILE] if delta else FILES})
    out.mkdir(parents=True, exist_ok=True)
    if delta:
        result = compare(out, seed, count)
        if not emit(result, json):
            tell(result)
        return
    with Progress(console=errors, disable=not errors.is_terminal) as bar:
        work = bar.add_task("training")
        network = train_and_save(
            seed, out, lambda done, total: bar.update(work, completed=done, total=total))
    engines = {"rtl": lambda image, task: run_rtl(network, nano, image, task)[0].predicted}
    result = {"seed": seed, "out": str(out),
              "accuracy": evaluate(network, **(engines if rtl else {}))}
    if not emit(result, json):
        for task, row in enumerate(result["accuracy"]):
            console.print(f"task {task}: " + ", ".join(
                f"{engine} {share:.2%}" for engine, share in row.items()))


def compare(out: Path, seed: int, count: int) -> dict:
    """Train both ways, save the network with delta activations, count on held-out sequences."""
    base = find("digits").real
    networks = {}
    with Progress(console=errors, disable=not errors.is_terminal) as bar:
        for name, delta in WAYS.items():
            work = bar.add_task(f"{name} delta activations")
            networks[name] = train_on_sequences(
                base, delta=delta, seed=seed, progress=lambda done, total, work=work: bar.update(
                    work, completed=done, total=total))
    networks["with"].save(out / DELTA_FILE)
    made = tallies(networks, [0], count, seed)
    rows = []
    for cell, (found,) in made.items():
        rows.append({
            "delta": cell.network == "with", "kind": cell.kind, "task": TASKS[cell.task],
            "accuracy": found.accuracy, "events_per_frame": found.events / found.frames,
            "attention_events_per_frame": found.attention_events / found.frames,
            "macs_per_frame": found.macs / found.frames, "density": found.density})
    return {"seed": seed, "out": str(out), "digits": count, "rows": rows,
            "summary": summary(rows)}


def summary(rows: list[dict]) -> dict[str, float]:
    """Return means over kinds: times fewer events and products, points of accuracy by task."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))

    def mean(name: str, delta: bool, among: list[str] = tasks) -> float:
        values = [row[name] for row in rows if row["delta"] == delta and row["task"] in among]
        return sum(values) / len(values)

    def followed(delta: bool) -> float:
        return mean("events_per_frame", delta) - mean("attention_events_per_frame", delta)

    return {"fewer_events": mean("events_per_frame", False) / mean("events_per_frame", True),
            "fewer_followed_events": followed(False) / followed(True),
            "fewer_macs": mean("macs_per_frame", False) / mean("macs_per_frame", True),
            **{f"points_lost_{task}": 100 * (mean("accuracy", False, [task])
                                             - mean("accuracy", True, [task])) for task in tasks}}


def tell(result: dict) -> None:
    """Print one row for each kind of sequences, task and way."""
    table = Table("sequences", "task", "delta activations", "accuracy", "events a frame",
                  "of these attention's", "multiplications", "density",
                  title=f"{result['digits']} held-out digits, integer network, policy delta, "
                        "theta 0, frames behind the first")
    half = len(result["rows"]) // 2
    for pair in zip(result["rows"][:half], result["rows"][half:], strict=True):
        for row in pair:
            table.add_row(row["kind"], row["task"], "yes" if row["delta"] else "no",
                          f"{row['accuracy']:.2%}", f"{row['events_per_frame']:,.0f}",
                          f"{row['attention_events_per_frame']:,.0f}",
                          f"{row['macs_per_frame']:,.0f}", f"{row['density']:.1%}")
        table.add_section()
    console.print(table)
    means = result["summary"]
    console.print(
        f"{means['fewer_events']:.2f} x fewer events ({means['fewer_followed_events']:.2f} x "
        f"without attention's, which are always recomputed), {means['fewer_macs']:.2f} x fewer "
        "multiplications; points of accuracy lost: " + ", ".join(
            f"{task} {means[f'points_lost_{task}']:+.2f}" for task in TASKS))
