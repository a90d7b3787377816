"""Training of the digits network: on still images, or on sequences with delta activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Group

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.boards import hardware
from deltamoe.experiments.tallies import TASKS, tallies
from deltamoe.golden.data.images import TEST_IMAGES
from deltamoe.golden.library import find
from deltamoe.golden.training.delta_train import DELTA_FILE, LOOKED_AT, train_on_sequences
from deltamoe.golden.training.digits import evaluate, train_and_save
from deltamoe.terminal import Table

HELD_OUT = TEST_IMAGES - LOOKED_AT
WAYS = {"without": False, "with": True}


@dataclass(frozen=True)
class Training(Result):
    """A network trained on still images: seed, folder of its files, accuracy by task and engine."""

    seed: int
    out: Path
    accuracy: Sequence[dict[str, float]]

    def figures(self) -> dict:
        return {"seed": self.seed, "out": str(self.out), "accuracy": list(self.accuracy)}

    def table(self) -> Group:
        return Group(*(f"task {task}: " + ", ".join(
            f"{engine} {share:.2%}" for engine, share in row.items())
            for task, row in enumerate(self.accuracy)))


def train(out: Path, seed: int = 0, *, rtl: bool = False, progress: Progress = QUIET) -> Training:
    """Train, quantize and evaluate the two-task network; takes minutes.

    Parameters
    ----------
    out : Path
        Folder for its files, which is made if need be.
    seed : int
        Seed of everything random.
    rtl : bool
        Whether the Verilog classifies the test images, too.
    progress : Progress
        Is told of the steps.

    Raises
    ------
    ValueError
        With ``rtl``: the Verilator model cannot be built.
    OSError
        The folder cannot be written to.
    """
    engines = {}
    if rtl:
        from deltamoe.api.verilog import classified
        from deltamoe.boards.verilator.engine import check_buildable

        nano = hardware("nano")
        check_buildable(nano)
    out.mkdir(parents=True, exist_ok=True)
    with progress.bar("training") as update:
        network = train_and_save(
            seed, out, lambda done, total: update(completed=done, total=total))
    if rtl:
        engines["rtl"] = partial(classified, network, nano)
    return Training(seed, out, evaluate(network, **engines))


@dataclass(frozen=True)
class DeltaTraining(Result):
    """Training with delta activations and without, counted on held-out sequences.

    Attributes
    ----------
    seed, digits : int
        Seed of everything random, and how many held-out digits.
    out : Path
        Folder of the network with delta activations.
    rows : list of dict
        By ``delta``, kind of sequences and task: accuracy and density as shares, events and
        multiplications of a frame.
    """

    seed: int
    out: Path
    digits: int
    rows: list[dict]

    @property
    def summary(self) -> dict[str, float]:
        """Means over kinds: times fewer events and products, points of accuracy by task."""
        return summary(self.rows)

    def figures(self) -> dict:
        return {"seed": self.seed, "out": str(self.out), "digits": self.digits, "rows": self.rows,
                "summary": self.summary}

    def table(self) -> Group:
        table = Table("sequences", "task", "delta activations", "accuracy", "events a frame",
                      "of these attention's", "multiplications", "density",
                      title=f"{self.digits} held-out digits, integer network, policy delta, "
                            "theta 0, frames behind the first")
        half = len(self.rows) // 2
        for pair in zip(self.rows[:half], self.rows[half:], strict=True):
            for row in pair:
                table.add_row(row["kind"], row["task"], "yes" if row["delta"] else "no",
                              f"{row['accuracy']:.2%}", f"{row['events_per_frame']:,.0f}",
                              f"{row['attention_events_per_frame']:,.0f}",
                              f"{row['macs_per_frame']:,.0f}", f"{row['density']:.1%}")
            table.add_section()
        means = self.summary
        return Group(
            table,
            f"{means['fewer_events']:.2f} x fewer events ({means['fewer_followed_events']:.2f} x "
            f"without attention's, which are always recomputed), {means['fewer_macs']:.2f} x fewer "
            "multiplications; points of accuracy lost: " + ", ".join(
                f"{task} {means[f'points_lost_{task}']:+.2f}" for task in TASKS))


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


def check_count(count: int) -> None:
    """Raise ValueError unless there are so many held-out digits that training never saw."""
    if not 1 <= count <= HELD_OUT:
        raise ValueError(f"count {count} is not in 1..{HELD_OUT}")


def train_delta(out: Path, seed: int = 0, count: int = HELD_OUT, *,
                progress: Progress = QUIET) -> DeltaTraining:
    """Train on sequences both ways, keep the network with delta activations, count both.

    Parameters
    ----------
    out : Path
        Folder for the network's file, which is made if need be.
    seed, count : int
        Seed of everything random, and how many held-out digits are counted on.
    progress : Progress
        Is told of the steps.

    Raises
    ------
    ValueError
        ``count`` is not in its range.
    OSError
        The folder cannot be written to.
    """
    check_count(count)
    out.mkdir(parents=True, exist_ok=True)
    base, networks = find("digits").real, {}
    for name, delta in WAYS.items():
        with progress.bar(f"{name} delta activations") as update:
            networks[name] = train_on_sequences(
                base, delta=delta, seed=seed, progress=lambda done, total, update=update: update(
                    completed=done, total=total))
    networks["with"].save(out / DELTA_FILE)
    rows = [{
        "delta": cell.network == "with", "kind": cell.kind, "task": TASKS[cell.task],
        "accuracy": counts.accuracy, "events_per_frame": counts.events / counts.frames,
        "attention_events_per_frame": counts.attention_events / counts.frames,
        "macs_per_frame": counts.macs / counts.frames, "density": counts.density}
        for cell, (counts,) in tallies(networks, [0], count, seed, progress).items()]
    return DeltaTraining(seed, out, count, rows)
