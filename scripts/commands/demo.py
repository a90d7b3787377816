"""``deltamoe demo``: one image through every engine, and a page of where the cycles went."""

import shlex
import time
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from golden.digits import CALIBRATION
from golden.engines import integer_output, real_output, sqnr_db
from golden.images import digits
from golden.library import Network, find
from golden.quantize import quantize
from rtl.accelerator import Accelerator
from rtl.compiler import compile_program
from rtl.generate import ports_json, to_verilog
from scripts.cli import JsonFile, app, command, console, emit
from scripts.commands.infer import mismatches, run_rtl
from scripts.host.files import write_all
from scripts.host.outputs import check_outputs
from scripts.lookup import clock, hardware
from scripts.page import page
from scripts.rtl_engine.engine import check_buildable
from scripts.terminal import Table
from sim.energy import energy
from sim.energy_table import find_table
from sim.facts import from_trace
from sim.machine import simulate

ENERGY_TABLE = "asic_28nm"
FILES = ("deltamoe.v", "deltamoe.json", "digit.png", "page.html")
NEXT = """Next:
  scripts/test
  deltamoe infer digits --engine rtl --image {image}
  deltamoe simulate digits --image {image} --mode zero-skip
  deltamoe verilog --hardware zcu102 --out out/zcu102
  deltamoe list
where deltamoe is .venv/bin/deltamoe"""


def run_task(network: Network, hw, image, task: int) -> dict:
    """Run one task on every engine and in the simulator."""
    real = real_output(network.real, image, task)
    integer, trace = integer_output(network, image, task)
    made, counters = run_rtl(network, hw, image, task)
    program = compile_program(network.quantized, hw, task)
    predicted = simulate(program, from_trace(trace, network.quantized.config))
    differing = {name: (count, predicted.counters[name]) for name, count in counters.items()
                 if predicted.counters[name] != count}
    return {
        "predicted_class": {"float": real.predicted, "integer": integer.predicted,
                            "rtl": made.predicted},
        "sqnr_db": sqnr_db(integer, real), "mismatches": mismatches(made, integer),
        "cycles": {"rtl": counters["cycles"], "simulator": predicted.cycles},
        "counters_differing": len(differing),
        "utilization": predicted.utilization(hw.mac_units),
        "bytes": counters["bytes_read"] + counters["bytes_written"],
        "energy": energy(predicted, hw, find_table(ENERGY_TABLE), clock(hw)), "result": predicted,
    }


def rows_of(task: dict) -> dict[str, str]:
    """Return what the table and the page say of a task."""
    spent, classes = task["energy"].total, task["predicted_class"]
    return {
        "class: float / integer / RTL": " / ".join(str(value) for value in classes.values()),
        "SQNR of integer against float": f"{task['sqnr_db']:.1f} dB",
        "elements differing, RTL from integer": str(task["mismatches"]),
        "cycles: RTL / simulator": " / ".join(f"{n:,}" for n in task["cycles"].values()),
        "counters differing, RTL from simulator": str(task["counters_differing"]),
        "utilization of the multipliers": f"{task['utilization']:.1%}",
        "bytes to and from memory": f"{task['bytes']:,}",
        "energy (28 nm ASIC table)": f"{spent.typical / 1e6:.2f} µJ "
                                     f"({spent.low / 1e6:.2f} to {spent.high / 1e6:.2f})",
    }


@app.command()
@command
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("out"),
    json: JsonFile = None,
) -> None:
    """Quantize the digits network, run a digit through every engine, write Verilog and a page."""
    began = time.perf_counter()
    hw = hardware("nano")
    check_outputs(json=json, folders={out: FILES})
    check_buildable(hw)
    real = find("digits").real
    images, labels = digits("test")
    network = Network(quantize(real, digits("train")[0][:CALIBRATION]), real.float())
    image, label = images[0], int(labels[0])
    tasks = [run_task(network, hw, image, task)
             for task in range(network.quantized.config.num_tasks)]
    out.mkdir(parents=True, exist_ok=True)
    unit = Accelerator(hw)
    drawn = BytesIO()
    Image.fromarray(image[0].numpy()).save(drawn, "png")
    write_all({out / name: content for name, content in zip(FILES, (
        to_verilog(unit, "deltamoe"), ports_json(unit), drawn.getvalue(),
        page(f"DeltaMoE: a handwritten {label} on {hw.name}", rows_of(tasks[0]),
             tasks[0]["result"], hw, tasks[0]["energy"])), strict=True)})
    wrong = any(task["mismatches"] or task["counters_differing"] for task in tasks)
    summary = {"label": label, "hardware": hw.name, "tasks": [
        {key: value for key, value in task.items() if key not in ("energy", "result")}
        for task in tasks]}
    if not emit(summary, json):
        table = Table("", "task 0: digit", "task 1: odd",
                      title=f"A handwritten {label} on {hw.name}")
        for name, *cells in zip(rows_of(tasks[0]), *(rows_of(task).values() for task in tasks),
                                strict=True):
            table.add_row(name, *cells)
        console.print(table)
        console.print(f"wrote {out}/deltamoe.v, {out}/deltamoe.json, {out}/digit.png and "
                      f"{out}/page.html in {time.perf_counter() - began:.0f} s", highlight=False)
        console.print(NEXT.format(image=shlex.quote(str(out / "digit.png"))), highlight=False)
    if wrong:
        raise typer.Exit(1)
