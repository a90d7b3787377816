"""One digit through every engine, and a page of where the cycles went."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from rich.console import Group
from rich.text import Text

from deltamoe.api.generation import FILES as VERILOG
from deltamoe.api.generation import generated
from deltamoe.api.networks import Network
from deltamoe.api.program import compile as compiled
from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.api.verilog import VerilogRun, run_verilog
from deltamoe.boards import clocks, hardware
from deltamoe.boards.clock import Clock, rates, speed
from deltamoe.boards.verilator.engine import check_buildable
from deltamoe.golden.data.images import digits
from deltamoe.golden.library import Network as Weights
from deltamoe.golden.library import find
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.training.digits import CALIBRATION
from deltamoe.host.files import write_all
from deltamoe.page import page
from deltamoe.sim.energy.estimate import Energy, energy
from deltamoe.sim.energy.table import find_table
from deltamoe.terminal import Table

ENERGY_TABLE = "asic_28nm"
DIGIT = "digit.png"
FILES = (*VERILOG, DIGIT, "page.html")
NEXT = """Next:
  scripts/test
  deltamoe infer digits --engine rtl --image {image}
  deltamoe simulate digits --image {image} --mode zero-skip
  deltamoe verilog --hardware zcu102 --out out/zcu102
  deltamoe list
where deltamoe is .venv/bin/deltamoe"""


@dataclass(frozen=True)
class Task:
    """One task on every engine, and what it costs."""

    run: VerilogRun
    mac_units: int
    energy: Energy
    clocks: Sequence[Clock]

    def figures(self) -> dict:
        """Return what ``--json`` writes of it."""
        run, counters = self.run, self.run.ran.counters
        return {
            "predicted_class": {"float": run.real.predicted, "integer": run.reference.predicted,
                                "rtl": run.output.predicted},
            "sqnr_db": run.sqnr_db, "mismatches": run.mismatches,
            "cycles": {"rtl": counters["cycles"], "simulator": run.expected.cycles},
            "counters_differing": run.counters_differing,
            "utilization": run.expected.utilization(self.mac_units),
            "rates": rates(counters["cycles"], self.clocks),
            "bytes": counters["bytes_read"] + counters["bytes_written"]}

    def rows(self) -> dict[str, str]:
        """Return what the table and the page say of it."""
        result, spent = self.figures(), self.energy.total
        return {
            "class: float / integer / RTL": " / ".join(
                map(str, result["predicted_class"].values())),
            "SQNR of integer against float": f"{result['sqnr_db']:.1f} dB",
            "elements differing, RTL from integer": str(result["mismatches"]),
            "cycles: RTL / simulator": " / ".join(f"{n:,}" for n in result["cycles"].values()),
            "counters differing, RTL from simulator": str(result["counters_differing"]),
            "utilization of the multipliers": f"{result['utilization']:.1%}",
            "speed": speed(result["cycles"]["rtl"], self.clocks),
            "bytes to and from memory": f"{result['bytes']:,}",
            "energy (28 nm ASIC table)": f"{spent.typical / 1e6:.2f} µJ "
                                         f"({spent.low / 1e6:.2f} to {spent.high / 1e6:.2f})",
        }


@dataclass(frozen=True)
class Demonstration(Result):
    """A digit, the tasks on it, the folder with Verilog and page, and the seconds it took."""

    label: int
    hardware: str
    tasks: Sequence[Task]
    out: Path
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether no bit and no counter differs."""
        return not any(task.run.mismatches or task.run.counters_differing for task in self.tasks)

    def figures(self) -> dict:
        return {"label": self.label, "hardware": self.hardware,
                "tasks": [task.figures() for task in self.tasks]}

    def table(self) -> Group:
        table = Table("", "task 0: digit", "task 1: odd",
                      title=f"A handwritten {self.label} on {self.hardware}")
        rows = [task.rows() for task in self.tasks]
        for name in rows[0]:
            table.add_row(name, *(row[name] for row in rows))
        *first, last = (str(self.out / name) for name in FILES)
        return Group(table, Text(f"wrote {', '.join(first)} and {last} in {self.seconds:.0f} s"),
                     Text(NEXT.format(image=shlex.quote(str(self.out / DIGIT)))))


def demonstrate(out: Path, *, progress: Progress = QUIET) -> Demonstration:
    """Quantize the digits network, run a digit through every engine, write Verilog and a page.

    Parameters
    ----------
    out : Path
        Folder to write to, which is made if need be.
    progress : Progress
        Is told what runs.

    Raises
    ------
    ValueError
        The Verilator model cannot be built.
    OSError
        The folder cannot be written to.
    """
    began, hw, costs = time.perf_counter(), hardware("nano"), find_table(ENERGY_TABLE)
    check_buildable(hw)
    real = find("digits").real
    images, labels = digits("test")
    weights = Weights(quantize(real, digits("train")[0][:CALIBRATION]), real.float())
    network = Network("digits", weights.quantized.config, weights)
    runs = [run_verilog(compiled(network, hw, task=task), progress=progress)
            for task in range(network.config.num_tasks)]
    stated = clocks(hw)
    tasks = [Task(run, hw.mac_units, energy(run.expected, hw, costs, stated[-1].mhz), stated)
             for run in runs]
    drawn = BytesIO()
    Image.fromarray(images[0][0].numpy()).save(drawn, "png")
    files, label = generated(hw.name), int(labels[0])
    out.mkdir(parents=True, exist_ok=True)
    shown = page(f"DeltaMoE: a handwritten {label} on {hw.name}", tasks[0].rows(),
                 runs[0].expected, hw, tasks[0].energy)
    write_all({out / name: content for name, content in zip(
        FILES, (*files.values(), drawn.getvalue(), shown), strict=True)})
    return Demonstration(label, hw.name, tasks, out, time.perf_counter() - began)
