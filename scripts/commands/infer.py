"""``deltamoe infer``: one image through one engine."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from golden.engines import Output, integer_output, real_output, sqnr_db
from golden.images import load_image
from golden.library import Network, find
from rtl.compiler import compile_program
from rtl.config import HwConfig
from rtl.program import ErrorCode
from scripts.cli import JsonFile, app, command, console, emit
from scripts.lookup import hardware
from scripts.rtl_engine import engine as rtl_engine

ENGINES = ("float", "integer", "rtl")


def run_rtl(network: Network, hw: HwConfig, image, task: int) -> tuple[Output, dict[str, int]]:
    """Run the Verilog; return its output and its counters."""
    program = compile_program(network.quantized, hw, task)
    with console.status("building the Verilator model (once) and running it"):
        result = rtl_engine.run(program, program.with_image(image.numpy()))
    if result.error != ErrorCode.NONE:
        raise RuntimeError(f"the accelerator stopped at descriptor {result.error_index}: "
                           f"{result.error.name}")
    return Output(*program.outputs(result.memory)), result.counters


def mismatches(output: Output, reference: Output) -> int:
    """Elements that differ."""
    count = int(np.count_nonzero(output.x != reference.x))
    if output.scores is not None and reference.scores is not None:
        count += int(np.count_nonzero(output.scores != reference.scores))
    return count


@app.command()
@command
def infer(
    model: Annotated[str, typer.Argument(help="Preset or quantized .safetensors file.")],
    image: Annotated[Path, typer.Option(help="Image of the network's size.")],
    hardware_name: Annotated[str, typer.Option("--hardware", help="Hardware preset.")] = "nano",
    engine: Annotated[str, typer.Option(help="float, integer or rtl.")] = "integer",
    task: Annotated[int, typer.Option(help="Task, from 0.")] = 0,
    json: JsonFile = None,
) -> None:
    """Run one image through the float network, the integer network or the Verilog."""
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    hw, network = hardware(hardware_name), find(model)
    pixels = load_image(image, network.quantized.config)
    if not 0 <= task < network.quantized.config.num_tasks:
        raise ValueError(f"task {task} is not in 0..{network.quantized.config.num_tasks - 1}")
    result: dict = {"model": model, "hardware": hardware_name, "engine": engine, "task": task}
    real = None if network.real is None else real_output(network.real, pixels, task)
    if engine == "float":
        if real is None:
            raise ValueError(f"{model}: a quantized file has no float weights; use a preset")
        output = real
    else:
        output, _ = integer_output(network, pixels, task)
        if engine == "rtl":
            reference = output
            output, counters = run_rtl(network, hw, pixels, task)
            result |= {"mismatches": mismatches(output, reference), "counters": counters}
    result |= {"output_sha256": output.sha256, "predicted": output.predicted,
               "sqnr_db": None if real is None or engine == "float" else sqnr_db(output, real)}
    if emit(result, json):
        return
    table = Table("", model)
    for name, value in result.items():
        if name == "counters":
            for counter, count in value.items():
                table.add_row(counter, f"{count:,}")
        else:
            table.add_row(name, str(value))
    console.print(table)
