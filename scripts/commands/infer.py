"""``deltamoe infer``: one image through one engine."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from golden.engines import Output, integer_output, real_output, sqnr_db
from golden.images import load_image
from golden.integer import Trace
from golden.library import Network, find
from rtl.assembler import Program
from rtl.compiler import compile_program
from rtl.config import HwConfig
from rtl.program import ErrorCode
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.files import write
from scripts.host.outputs import check_outputs
from scripts.lookup import file_of, hardware, weights
from scripts.rtl_engine import engine as rtl_engine
from scripts.terminal import Table
from sim.facts import from_trace
from sim.machine import simulate
from sim.spans import Span
from sim.trace import differences, perfetto

ENGINES = ("float", "integer", "rtl")


def run_rtl(network: Network, hw: HwConfig, image, task: int) -> tuple[Output, dict[str, int]]:
    """Run the Verilog; return its output and its counters."""
    program = compile_program(network.quantized, hw, task)
    result = run_program(program, image)
    return Output(*program.outputs(result.memory)), result.counters


def run_program(program: Program, image, *, spans: bool = False) -> rtl_engine.RunResult:
    """Run a program on the Verilog.

    Raises
    ------
    RuntimeError
        It stopped with an error.
    """
    with errors.status("building the Verilator model (once) and running it"):
        result = rtl_engine.run(program, program.with_image(image.numpy()), spans=spans)
    if result.error != ErrorCode.NONE:
        raise RuntimeError(f"the accelerator stopped at descriptor {result.error_index}: "
                           f"{result.error.name}")
    return result


def timeline(program: Program, made: tuple[Span, ...], trace: Trace) -> tuple[str, int]:
    """Return one Perfetto trace of simulator, Verilog and differences, and how many these are."""
    expected = simulate(program, from_trace(trace, program.config)).spans
    found = differences(expected, made, ("simulator", "rtl"))
    return perfetto({"simulator": expected, "rtl": made, "differences": found}), len(found)


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
    image: Annotated[Path, typer.Option(help=(
        "Image of the network's size, shown upright; what is transparent is black."))],
    hardware_name: Annotated[str, typer.Option("--hardware", help="Hardware preset.")] = "nano",
    engine: Annotated[str, typer.Option(help="float, integer or rtl.")] = "integer",
    task: Annotated[int, typer.Option(help="Task, from 0.")] = 0,
    trace: Annotated[Path | None, typer.Option(
        help="With --engine rtl: write a Perfetto trace of simulator, Verilog and differences.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Run one image through the float network, the integer network or the Verilog."""
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    if trace and engine != "rtl":
        raise ValueError(f"--trace needs --engine rtl, not {engine}; deltamoe simulate --trace "
                         "has the simulator's")
    check_outputs([trace], json=json, read=[file_of(model), image])
    hw = hardware(hardware_name)
    if engine == "rtl":
        rtl_engine.check_buildable(hw)
    network = find(model)
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
        output, known = integer_output(network, pixels, task)
        if engine == "rtl":
            reference, program = output, compile_program(network.quantized, hw, task)
            ran = run_program(program, pixels, spans=trace is not None)
            output = Output(*program.outputs(ran.memory))
            result |= {"mismatches": mismatches(output, reference), "counters": ran.counters}
            if trace:
                text, found = timeline(program, ran.spans, known)
                write(trace, text)
                result |= {"trace": str(trace), "spans_differing": found}
    result |= {"output_sha256": output.sha256, "predicted": output.predicted,
               "weights": weights(model),
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
