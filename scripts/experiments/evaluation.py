"""How right a network is on a folder of images, in floating point, in integers, in Verilog."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Group
from rich.text import Text

from deltamoe.api.inference import Inference, infer
from deltamoe.api.networks import Network, load
from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Pictured
from deltamoe.api.verilog import run_verilog
from deltamoe.boards import hardware as preset
from deltamoe.boards.verilator.engine import check_buildable
from deltamoe.golden.data.folder import files_below
from deltamoe.golden.data.images import check_image, load_image
from deltamoe.golden.library import Network as Weights
from deltamoe.host.files import write
from deltamoe.page import png
from deltamoe.terminal import Table

PICTURE = "accuracy.png"
SQNR = "SQNR of tokens: mean, worst"

NORMAL = 1.959964
"""Deviations of a normal distribution that hold 95 %."""

SHOWN = 8
"""Images that the picture and the table show."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a share (Wilson, 1927): within 0 and 1 for any."""
    center = (hits + NORMAL**2 / 2) / (count + NORMAL**2)
    half = NORMAL * math.sqrt(hits * (count - hits) / count + NORMAL**2 / 4) / (count + NORMAL**2)
    return max(0.0, center - half), min(1.0, center + half)


def classes_of(paths: Sequence[Path], folder: Path, labels: Path | None) -> list[int] | None:
    """Return the class of every image, from a file or from the folders they lie in; None: unknown.

    A file holds an image's name and its class in every line, by a comma. Of folders, a number is
    the class, or else its place among the folders by the alphabet.

    Raises
    ------
    ValueError
        A line is none of these, or an image has no class; names it.
    """
    if labels is None:
        names = sorted({path.parent.name for path in paths if path.parent != folder})
        if not names:
            return None
        places = ({name: int(name) for name in names} if all(map(str.isdecimal, names)) else
                  {name: place for place, name in enumerate(names)})
        return [places[path.parent.name] for path in paths]
    known: dict[str, int] = {}
    with labels.open(newline="", encoding="utf-8") as lines:
        for number, line in enumerate(csv.reader(lines), 1):
            if not line:
                continue
            if len(line) != 2 or not line[1].strip().isdecimal():
                raise ValueError(f"{labels}, line {number}: not NAME,CLASS with a class from 0")
            known[line[0].strip()] = int(line[1])
    named = [path.relative_to(folder).as_posix() for path in paths]
    for name in named:
        if name not in known:
            raise ValueError(f"{labels} has no class of {name}")
    return [known[name] for name in named]


def outputs_of(inference: Inference) -> dict[str, np.ndarray]:
    """Return what a user gets: class scores, the host's outputs, or the tokens."""
    if inference.output.scores is not None:
        return {"scores": inference.output.scores.astype(np.float64)}
    if inference.outputs:
        return {name: value.astype(np.float64)[0] for name, value in inference.outputs.items()}
    if inference.engine == "float":
        return {"tokens": inference.output.x}
    return {"tokens": inference.output.x / inference.network.weights.quantized.residual_scale}


def ranked(scores: np.ndarray, label: int) -> int:
    """Return how many classes come before one; of equal scores the lower class is first."""
    return int(np.nonzero(np.argsort(-scores, kind="stable") == label)[0][0])


@dataclass(frozen=True)
class Seen:
    """An image, its class or that of the float network, and each engine's outputs.

    ``sqnr_db`` is the signal-to-noise ratio of an engine's tokens against floating point.
    """

    path: Path
    label: int | None
    outputs: dict[str, dict[str, np.ndarray]]
    sqnr_db: dict[str, float]


@dataclass(frozen=True)
class Evaluation(Pictured):
    """Shares of images that are right, or how near outputs are to those in floating point.

    Attributes
    ----------
    model : str
        Name of the network.
    images : sequence of Seen
        The worst first.
    labeled : bool
        Whether classes are known; otherwise the float network's count as right.
    engines : dict
        By engine: ``images``, and for classes ``top1`` and ``top5`` with ``share`` and
        ``interval``; else by output ``correlation``, ``mean_error`` and ``largest_error``. And
        ``sqnr_db`` of the tokens, ``mean`` and ``worst``, where floating point is known.
    mismatches : int
        Elements that the Verilog makes otherwise than the integer network.
    pixels : sequence of ndarray
        Of the worst images, (height, width) or (height, width, 3).
    """

    model: str
    images: Sequence[Seen]
    labeled: bool
    engines: dict[str, dict]
    mismatches: int
    pixels: Sequence[np.ndarray]

    @property
    def classes(self) -> bool:
        """Whether the network classifies."""
        return self.images[0].label is not None

    def figures(self) -> dict:
        return {"model": self.model, "images": len(self.images), "labeled": self.labeled,
                "interval": "Wilson, 95 %", "engines": self.engines,
                "mismatches": self.mismatches, "worst": [
                    {"image": str(seen.path), "label": seen.label, **said(seen)}
                    for seen in self.images[:SHOWN]]}

    def table(self) -> Group:
        if self.classes:
            right = "right" if self.labeled else "as in floating point"
            table = Table("engine", "images", f"top-1 {right}", "Wilson, 95 %",
                          f"top-5 {right}", "Wilson, 95 %", SQNR, title=self.model)
            for name, engine in self.engines.items():
                table.add_row(name, str(engine["images"]), *(
                    text for top in ("top1", "top5") for text in (
                        f"{engine[top]['share']:.2%}",
                        "{:.2%} to {:.2%}".format(*engine[top]["interval"]))), decibels(engine))
        else:
            table = Table("engine", "images", "output", "correlation", "mean error",
                          "largest error", SQNR, title=f"{self.model}, against floating point")
            for name, engine in self.engines.items():
                for output, found in engine["outputs"].items():
                    table.add_row(name, str(engine["images"]), output,
                                  f"{found['correlation']:.5f}", f"{found['mean_error']:.4g}",
                                  f"{found['largest_error']:.4g}", decibels(engine))
        worst = Table("worst images", *said(self.images[0]))
        for seen in self.images[:SHOWN]:
            worst.add_row(str(seen.path), *map(str, said(seen).values()))
        lines = [Text(f"{self.mismatches} elements differ between Verilog and integers")
                 ] if "rtl" in self.engines else []
        return Group(table, worst, *lines)

    def picture(self) -> bytes:
        """Return a PNG of the worst images with what was made of them."""
        columns = min(len(self.pixels), SHOWN // 2)
        rows = math.ceil(len(self.pixels) / columns)
        figure = Figure(figsize=(2.5 * columns + 1, 2.7 * rows + 0.4), layout="constrained")
        figure.suptitle(f"{self.model}: the worst of {len(self.images)} images")
        for axes, seen, pixels in zip(
                figure.subplots(rows, columns, squeeze=False).flat, self.images, self.pixels,
                strict=False):
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axes.set_title("\n".join(f"{name}: {value}" for name, value in said(seen).items()),
                           fontsize=8)
        for axes in figure.axes:
            axes.set_axis_off()
        return png(figure, dpi=84)


def decibels(engine: dict) -> str:
    """Return what the table says of an engine's ratio of signal to noise; nothing if not known."""
    return "{mean:.1f}, {worst:.1f} dB".format(**engine["sqnr_db"]) if "sqnr_db" in engine else ""


def said(seen: Seen) -> dict[str, float | int | str]:
    """Return what the table and the picture say of an image."""
    if seen.label is not None:
        found = {name: int(np.argmax(next(iter(made.values()))))
                 for name, made in seen.outputs.items()}
        return {"class": seen.label, **found}
    return {f"error of {name}": float(f"{value:.4g}")
            for name, value in errors(seen, "integer").items()}


def errors(seen: Seen, engine: str) -> dict[str, float]:
    """Return the mean absolute error of every output against floating point."""
    return {name: float(np.abs(value - seen.outputs["float"][name]).mean())
            for name, value in seen.outputs[engine].items()}


def badness(seen: Seen) -> tuple[float, ...]:
    """Return a key by which the worst image is the largest."""
    if seen.label is None:
        return (max(errors(seen, "integer").values()),)
    scores = next(iter(seen.outputs["integer"].values()))
    spread = float(scores.max() - scores.min()) or 1.0
    other = np.delete(scores, seen.label).max(initial=scores.min())
    return ranked(scores, seen.label) > 0, float(other - scores[seen.label]) / spread


def shares(images: Sequence[Seen], engine: str) -> dict:
    """Return how often the class is the first of an engine's, and among its first five."""
    places = [ranked(next(iter(seen.outputs[engine].values())), seen.label)
              for seen in images if engine in seen.outputs]
    figures: dict = {"images": len(places)}
    for top in (1, 5):
        hits = sum(place < top for place in places)
        figures[f"top{top}"] = {"share": hits / len(places),
                                "interval": list(wilson(hits, len(places)))}
    return figures


def distances(images: Sequence[Seen], engine: str) -> dict:
    """Return correlation and errors of an engine's outputs against floating point."""
    shown = [seen for seen in images if engine in seen.outputs]
    outputs = {}
    for name in shown[0].outputs[engine]:
        got, real = (np.stack([seen.outputs[kind][name] for seen in shown]).ravel()
                     for kind in (engine, "float"))
        apart, spread = np.abs(got - real), got.std() * real.std()
        outputs[name] = {
            "correlation": float(((got - got.mean()) * (real - real.mean())).mean() / spread)
            if spread else math.nan,
            "mean_error": float(apart.mean()), "largest_error": float(apart.max())}
    return {"images": len(shown), "outputs": outputs}


def noise(images: Sequence[Seen], engine: str) -> dict:
    """Return mean and worst of an engine's ratios of signal to noise, if they are known."""
    ratios = [seen.sqnr_db[engine] for seen in images if engine in seen.sqnr_db]
    return {"sqnr_db": {"mean": sum(ratios) / len(ratios), "worst": min(ratios)}} if ratios else {}


def checked(network: Network, reference: Network, paths: Sequence[Path], labels: list[int] | None,
            rtl: int, task: int) -> None:
    """Raise ValueError unless these can be measured, before anything runs."""
    network.check_task(task)
    if not 0 <= rtl <= len(paths):
        raise ValueError(f"rtl {rtl} is not in 0..{len(paths)}, the images that there are")
    if reference.config != network.config and reference is not network:
        same = {name for name in vars(network.config) if name != "name"}
        for name in sorted(same):
            mine, other = getattr(network.config, name), getattr(reference.config, name)
            if mine != other:
                raise ValueError(f"{reference.name} is another network than {network.name}: "
                                 f"{name} is {other}, not {mine}")
    if reference.known.real is None and labels is None:
        raise ValueError(f"{network.name} has no float weights and the images no labels; say "
                         "--reference, the network in floating point, or --labels")
    for path in paths:
        check_image(path, network.config, network.preprocessing)


def evaluate(model: str | Path | Network, images: str | Path, out: str | Path | None = None, *,
             labels: str | Path | None = None, reference: str | Path | Network | None = None,
             rtl: int = 0, hardware: str = "nano", task: int = 0, progress: Progress = QUIET
             ) -> Evaluation:
    """Measure a network on a folder of images.

    Parameters
    ----------
    model : str, Path or Network
        With integers, as :func:`deltamoe.load` takes it.
    images : str or Path
        Folder of images, or of one folder for each class.
    out : str or Path, optional
        Folder for ``accuracy.png``, the worst images.
    labels : str or Path, optional
        File with an image's name and its class in every line, by a comma.
    reference : str, Path or Network, optional
        The same network in floating point; by default what ``model`` has.
    rtl : int
        Images that the Verilog of ``hardware`` computes too, evenly from all.
    task : int
        Which of the network's tasks.
    progress : Progress
        Is told of every image.

    Raises
    ------
    ValueError
        Names what is wrong and what is allowed.
    """
    folder = Path(images)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    network = load(model)
    real = network if reference is None else load(reference)
    paths = files_below(folder)
    labels_of = classes_of(paths, folder, None if labels is None else Path(labels))
    checked(network, real, paths, labels_of, rtl, task)
    if rtl:
        check_buildable(preset(hardware))
    both = Network(network.name, network.config, Weights(
        network.weights.quantized, real.known.real, network.preprocessing, network.host))
    sampled = {index * len(paths) // rtl for index in range(rtl)}
    found, mismatches = [], 0
    for index, path in enumerate(progress.each(paths, "inferring", len(paths))):
        run = infer(both, path, task=task)
        inferences = {"integer": run} if run.real is None else {
            "float": replace(run, engine="float", output=run.real), "integer": run}
        if index in sampled:
            inferences["rtl"] = run_verilog(both, hardware, task=task, image=path)
            mismatches += inferences["rtl"].mismatches
        shown = {name: outputs_of(each) for name, each in inferences.items()}
        first = next(iter(shown["integer"].values()))
        classified = len(shown["integer"]) == 1 and first.ndim == 1
        label = None
        if classified:
            label = (int(np.argmax(next(iter(shown["float"].values())))) if labels_of is None else
                     labels_of[index])
            if label >= len(first):
                raise ValueError(f"{path} is of class {label}; {network.name} has {len(first)}")
        elif labels_of is not None and "float" not in shown:
            raise ValueError(f"{network.name} does not classify; say --reference, the network in "
                             "floating point")
        ratios = {name: each.sqnr_db for name, each in inferences.items()}
        found.append(Seen(path, label, shown, {
            name: ratio for name, ratio in ratios.items() if ratio is not None}))
    found.sort(key=badness, reverse=True)
    kinds = [name for name in ("float", "integer", "rtl")
             if any(name in seen.outputs for seen in found)]
    classify = found[0].label is not None
    engines = {name: (shares if classify else distances)(found, name) | noise(found, name)
               for name in kinds if classify or name != "float"}
    pixels = [load_image(seen.path, network.config, network.preprocessing).permute(1, 2, 0).numpy(
        ).squeeze() for seen in found[:SHOWN]]
    evaluation = Evaluation(network.name, found, classify and labels_of is not None, engines,
                            mismatches, pixels)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        write(Path(out) / PICTURE, evaluation.picture())
    return evaluation
