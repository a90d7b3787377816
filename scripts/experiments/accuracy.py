"""What leaving out small differences costs, on sequences of digits."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Pictured
from deltamoe.experiments.tallies import TASKS, tallies
from deltamoe.golden.data.images import TEST_IMAGES
from deltamoe.golden.data.sequences import KINDS
from deltamoe.golden.library import find
from deltamoe.host.files import write
from deltamoe.page import BLUE, GREEN, ORANGE, png
from deltamoe.terminal import Table

PICTURE = "accuracy.png"


@dataclass(frozen=True)
class Accuracy(Pictured):
    """Accuracy, SQNR and density by theta.

    Attributes
    ----------
    model : str
        Name of the network.
    digits, seed : int
        Held-out digits, and the seed of their ways and noise.
    rows : list of dict
        By kind of sequences, theta and task: ``accuracy`` and ``density`` as shares, ``sqnr_db``
        against dense inference (None if exact), ``events_per_frame``.
    """

    model: str
    digits: int
    seed: int
    rows: list[dict]

    def figures(self) -> dict:
        return {"model": self.model, "digits": self.digits, "seed": self.seed, "rows": self.rows}

    def table(self) -> Table:
        table = Table("sequences", "theta", "accuracy", "SQNR", "density",
                      title=f"{self.model}, {self.digits} held-out digits, frames behind the "
                            f"first; {' / '.join(TASKS)}; SQNR against dense inference")
        rows = sorted(self.rows, key=lambda row: KINDS.index(row["kind"]))
        for pair in zip(*([row for row in rows if row["task"] == task] for task in TASKS),
                        strict=True):
            table.add_row(
                pair[0]["kind"], str(pair[0]["theta"]),
                " / ".join(f"{row['accuracy']:.2%}" for row in pair),
                " / ".join("exact" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
                           for row in pair) + ("" if pair[0]["sqnr_db"] is None else " dB"),
                " / ".join(f"{row['density']:.1%}" for row in pair))
        return table

    def picture(self) -> bytes:
        """Return a PNG of accuracy, SQNR and density against theta."""
        thetas = sorted({row["theta"] for row in self.rows})
        figure = Figure(figsize=(9.7, 3.3), layout="constrained")
        figure.suptitle(f"{self.model}: policy delta, {self.digits} held-out digits, "
                        "frames behind the first")
        panels = (("accuracy", 100, "accuracy, % of frames"),
                  ("sqnr_db", 1, "SQNR against dense, dB"),
                  ("density", 100, "density, % of multiplications"))
        for axes, (name, scale, label) in zip(figure.subplots(1, 3), panels, strict=True):
            for kind, color, marker in zip(KINDS, (BLUE, ORANGE, GREEN), "osD", strict=True):
                for task, style in zip(TASKS, ("-", "--"), strict=True):
                    rows = [row for row in self.rows
                            if (row["kind"], row["task"]) == (kind, task)
                            and row[name] is not None]
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


def check_settings(thetas: Iterable[int], count: int, seed: int) -> None:
    """Raise ValueError unless these can be measured, before a network is built."""
    for theta in sorted(thetas):
        if theta < 0:
            raise ValueError(f"theta {theta} is negative")
    if not 1 <= count <= TEST_IMAGES:
        raise ValueError(f"count {count} is not in 1..{TEST_IMAGES}")
    if seed < 0:
        raise ValueError(f"seed {seed} is negative")


def accuracy(model: str, out: Path, thetas: Iterable[int] = (0, 1, 2, 4, 8), count: int = 90,
             seed: int = 0, *, progress: Progress = QUIET) -> Accuracy:
    """Measure accuracy, SQNR and density on moving and noisy digits; takes minutes.

    Parameters
    ----------
    model : str
        ``digits``, or a quantized file of its kind.
    out : Path
        Folder for ``accuracy.png``, which is made if need be.
    thetas : iterable of int
        Largest differences that are left out, in codes of int8.
    count, seed : int
        Held-out digits, and the seed of their ways and noise.
    progress : Progress
        Is told of the sequences.

    Raises
    ------
    ValueError
        Names what is wrong and what is allowed.
    OSError
        The folder cannot be written to.
    """
    thetas = sorted(set(thetas))
    check_settings(thetas, count, seed)
    network = find(model).quantized
    if network.config.name != "digits":
        raise ValueError(f"model {model!r} is a {network.config.name}, not digits")
    out.mkdir(parents=True, exist_ok=True)
    counts = tallies({model: network}, thetas, count, seed, progress)
    measured = Accuracy(Path(model).name, count, seed, [
        {"kind": cell.kind, "theta": value, "task": TASKS[cell.task],
         "accuracy": tally.accuracy, "sqnr_db": tally.sqnr_db, "density": tally.density,
         "events_per_frame": tally.events / tally.frames}
        for cell, all_found in counts.items()
        for value, tally in zip(thetas, all_found, strict=True)])
    write(out / PICTURE, measured.picture())
    return measured
