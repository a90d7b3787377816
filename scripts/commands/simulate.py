"""``deltamoe simulate``: cycles, counters and energy without the hardware."""

import time
from pathlib import Path
from typing import Annotated

import typer

from golden.config import MODELS
from golden.policy import Choice, Plan, Policy
from rtl.assembler import Program
from rtl.compiler import compile_program
from rtl.config import HwConfig
from scripts.cli import JsonFile, app, command, console, emit
from scripts.host.files import write_all
from scripts.host.outputs import check_outputs
from scripts.lookup import clock, file_of, hardware
from scripts.terminal import Table
from sim.accelergy import FILES as ACCELERGY
from sim.accelergy import export
from sim.energy import Energy, energy
from sim.energy_table import find_table, tables
from sim.facts import Facts, from_trace, generated
from sim.losses import CAUSES
from sim.machine import simulate as run
from sim.memory import MemoryModel
from sim.outline import Outline
from sim.outline import facts as preset_facts
from sim.spans import Result
from sim.trace import perfetto


def describe(result: Result, hw: HwConfig, spent: Energy) -> dict:
    """Return the JSON of a simulation."""
    return {
        "cycles": result.cycles, "macs": result.counters["macs"], "mac_units": hw.mac_units,
        "utilization": result.utilization(hw.mac_units), "counters": dict(result.counters),
        "layers": [{"name": layer.name, "cycles": layer.cycles, "macs": layer.macs,
                    "stalls": dict(layer.stalls)} for layer in result.layers],
        "lost": {"cycles": sum(result.losses.by_cause().values()),
                 "by_cause": result.losses.by_cause(), "by_layer": result.losses.by_operator()},
        "energy_pj": {
            **spent.total.bounds, "table": spent.table.name, "kind": spent.table.kind,
            "meaning": spent.table.meaning, "gaps": dict(spent.table.gaps),
            "clock_mhz": spent.clock_mhz, "fps": spent.fps,
            **{f"by_{name}": {key: part.bounds for key, part in parts.items()}
               for name, parts in (
                   ("component", spent.by_component()), ("operand", spent.by_operand()),
                   ("kind", spent.by_kind()), ("layer", spent.by_layer()))}},
    }


def lost(result: Result) -> Table:
    """Return the table of cycles without products: causes, and where each is largest."""
    table = Table("cycles lost to", "cycles", "share", "most of it in", title="Idle multipliers")
    places = result.losses.by_operator()
    for cause, cycles in sorted(result.losses.by_cause().items(), key=lambda row: -row[1]):
        if cycles:
            where = max(places, key=lambda name: places[name].get(cause, 0))
            table.add_row(f"{cause}: {CAUSES[cause]}", f"{cycles:,.0f}",
                          f"{cycles / result.cycles:.2%}",
                          f"{where} {places[where][cause]:,.0f}")
    return table


def prepare(model: str, hw: HwConfig, task: int, plan: Plan,
            image: Path | None) -> tuple[Program, Facts]:
    """Compile a network and find out about its data.

    A preset without an image takes the routing of its default image and needs no weights.
    """
    if image is None and model in MODELS:
        config = MODELS[model]
        program = compile_program(Outline(config), hw, task, plan)
        return program, preset_facts(config, task)
    from golden.engines import integer_output
    from golden.images import load_image
    from golden.library import find

    network = find(model)
    config = network.quantized.config
    program = compile_program(network.quantized, hw, task, plan)
    if image is None:
        return program, generated(config, 0)
    return program, from_trace(
        integer_output(network, load_image(image, config), task)[1], config)


@app.command()
@command
def simulate(
    model: Annotated[str, typer.Argument(help="Preset or quantized .safetensors file.")],
    hardware_name: Annotated[str, typer.Option("--hardware", help="Hardware preset.")] = "nano",
    task: Annotated[int, typer.Option(help="Task, from 0.")] = 0,
    image: Annotated[Path | None, typer.Option(
        help="Image that decides the routing; else a preset's own, or drawn at random.")] = None,
    mode: Annotated[str, typer.Option(help="dense, or zero-skip (needs an image).")] = "dense",
    latency: Annotated[int, typer.Option(help="Cycles of the memory's latency.")] = 20,
    interval: Annotated[int, typer.Option(help="Cycles from beat to beat of the memory.")] = 1,
    energy_table: Annotated[str, typer.Option(help="Energy cost table, or a file of one.")] = (
        "asic_28nm"),
    clock_mhz: Annotated[float | None, typer.Option(
        help="Clock, for static energy; else the one assumed for the hardware.")] = None,
    fps: Annotated[float, typer.Option(
        help="Frames a second; the time left until the next is idle. 0: none follows.")] = 0.0,
    trace: Annotated[Path | None, typer.Option(help="Write a Perfetto trace here.")] = None,
    accelergy: Annotated[Path | None, typer.Option(
        help="Folder for ERT.yaml and action_counts.yaml, as Accelergy reads them.")] = None,
    json: JsonFile = None,
) -> None:
    """Predict every counter of the hardware, the cycles of every layer, and the energy."""
    hw, costs = hardware(hardware_name), find_table(energy_table)
    if mode not in ("dense", "zero-skip"):
        raise ValueError(f"mode {mode!r} is neither dense nor zero-skip")
    if mode == "zero-skip" and image is None:
        raise ValueError("mode zero-skip needs --image, since events depend on the data")
    check_outputs([trace], json=json, read=[file_of(model), image, file_of(energy_table, tables())],
                  folders={accelergy: ACCELERGY} if accelergy else {})
    program, facts = prepare(model, hw, task, Plan(Choice(Policy(mode))), image)
    began = time.perf_counter()
    result = run(program, facts, MemoryModel(latency, interval))
    spent = energy(result, hw, costs, clock(hw, clock_mhz), fps)
    made = {"model": model, "hardware": hardware_name, "task": task,
            **describe(result, hw, spent), "seconds": time.perf_counter() - began}
    written = {trace: perfetto({"simulator": result.spans})} if trace else {}
    if accelergy:
        accelergy.mkdir(parents=True, exist_ok=True)
        written |= {accelergy / name: text for name, text in export(result, spent).items()}
    write_all(written)
    if emit(made, json):
        return
    table = Table("layer", "cycles", "MACs", "longest stall", title=f"{model} on {hardware_name}")
    for layer in result.layers:
        cause = max(layer.stalls, key=lambda name: layer.stalls[name])
        table.add_row(layer.name, f"{layer.cycles:,}", f"{layer.macs:,}",
                      f"{cause} {layer.stalls[cause]:,}")
    console.print(table)
    console.print(lost(result))
    console.print(f"{result.cycles:,} cycles, {result.utilization(hw.mac_units):.1%} of "
                  f"{hw.mac_units} multipliers busy")
    tell(spent)


def tell(spent: Energy) -> None:
    """Print the energy by kind, and what the table has no price for."""
    table = Table("energy, uJ", "typical", "low", "high",
                  title=f"{spent.table.name} at {spent.clock_mhz:g} MHz: {spent.table.meaning}")
    for name, part in {**spent.by_kind(), "total": spent.total}.items():
        table.add_row(name, *(f"{value / 1e6:,.2f}" for value in (
            part.typical, part.low, part.high)))
    console.print(table)
    for name, reason in spent.table.gaps.items():
        console.print(f"not priced: {name}: {reason}", highlight=False)
