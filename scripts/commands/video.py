"""``deltamoe video``: frame after frame, by policy."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import Progress, track

from golden.config import ModelConfig
from golden.density import density
from golden.integer import Integer, Trace
from golden.library import find
from golden.picture import files_of
from golden.policy import REMEMBERING, Plan, Policy
from golden.quantized import QuantizedModel
from golden.report import sqnr
from golden.temporal import Temporal
from golden.video import Pixels
from golden.video import frames as read_frames
from rtl.compiler import DENSE, compile_program
from rtl.config import HwConfig
from rtl.keeping import Keeping
from rtl.plans import named
from rtl.program import ErrorCode
from scripts.choosing import automatic
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.film import film
from scripts.host.files import write
from scripts.host.outputs import check_outputs, identity
from scripts.lookup import clock, file_of, hardware, weights
from scripts.terminal import Table
from sim.energy import energy
from sim.energy_table import Table as Costs
from sim.energy_table import find_table, tables
from sim.facts import from_trace, from_traces
from sim.machine import simulate
from sim.memory import MemoryModel

PICTURE = "video.png"

LOOKAHEAD = 4
"""Frames by which the policy ``auto`` is chosen."""


@dataclass(frozen=True)
class Frame:
    """What one frame cost, beside the same frame computed densely."""

    density: float
    cycles: int
    dense_cycles: int
    speedup: float
    energy_pj: float
    energy_low_pj: float
    energy_high_pj: float
    bytes: int
    sqnr_db: float | None
    mismatches: int


class Player:
    """Runs a plan and dense inference side by side; keeps the traces."""

    def __init__(self, model: QuantizedModel, hw: HwConfig, task: int, plan: Plan,
                 memory: MemoryModel, costs: Costs) -> None:
        self.model, self.hw, self.task, self.plan = model, hw, task, plan
        self.memory, self.costs = memory, costs
        self.reference, self.exact = Temporal(model, plan), Integer(model)
        self.programs = [compile_program(model, hw, task, plan, continues=later)
                         for later in (False, True)]
        self.dense = compile_program(model, hw, task, DENSE)
        self.traces: list[Trace] = []

    def show(self, pixels: Pixels) -> Frame:
        """Infer the next frame."""
        config = self.model.config
        trace, dense = (run.run(pixels, self.task) for run in (self.reference, self.exact))
        program = self.programs[bool(self.traces)]
        result = simulate(program, from_trace(trace, config, self.plan), self.memory)
        before = simulate(self.dense, from_trace(dense, config), self.memory).cycles
        counters, spent = result.counters, energy(
            result, self.hw, self.costs, clock(self.hw)).total
        self.traces.append(trace)
        wrong = int((trace.x != dense.x).sum())
        return Frame(
            density(trace, config), result.cycles, before, before / result.cycles,
            spent.typical, spent.low, spent.high,
            counters["bytes_read"] + counters["bytes_written"],
            sqnr(trace.x.double(), dense.x.double()) if wrong else None, wrong)


def on_rtl(player: Player, shown: list[Pixels]) -> dict:
    """Run all frames in Verilog; return elements and counters that are not as predicted."""
    from scripts.rtl_engine import engine

    config, count = player.model.config, len(shown)
    program = compile_program(player.model, player.hw, player.task, player.plan, frames=count)
    result = engine.run(program, program.with_image(*(frame.numpy() for frame in shown)),
                        latency=player.memory.latency, interval=player.memory.interval)
    if result.error != ErrorCode.NONE:
        raise RuntimeError(f"the accelerator stopped at descriptor {result.error_index}: "
                           f"{result.error.name}")
    expected = simulate(program, from_traces(player.traces, config, player.plan), player.memory)
    return {
        "elements_differing": [int(np.count_nonzero(
            program.outputs(result.memory, number)[0] != trace.x.numpy()))
            for number, trace in enumerate(player.traces)],
        "counters_differing": sum(result.counters[name] != expected.counters[name]
                                  for name in expected.counters),
        "cycles": result.counters["cycles"]}


def summary(frames: list[Frame]) -> dict[str, float]:
    """Return means over the frames behind the first, or of the only one."""
    later = frames[1:] or frames
    return {name: sum(getattr(frame, name) for frame in later) / len(later)
            for name in ("density", "cycles", "dense_cycles", "energy_pj", "energy_low_pj",
                         "energy_high_pj", "bytes", "mismatches")
            } | {"speedup": sum(frame.dense_cycles for frame in later)
                 / sum(frame.cycles for frame in later)}


def pictures(source: str, out: Path | None) -> list[Path]:
    """Return the files of an input, which results must not replace.

    Raises
    ------
    ValueError
        It is a folder without pictures, or the picture of the result would be one of them.
    """
    path = Path(source)
    if not path.is_dir():
        return [path]
    if out is not None and out.exists() and identity(out) == identity(path):
        raise ValueError(f"{out / PICTURE} would be one of the pictures of --input; write to "
                         "another folder")
    return files_of(path)


def begin(source: Iterator[Pixels], count: int) -> tuple[list[Pixels], Iterator[Pixels]]:
    """Return the frames that ``auto`` looks at, and all frames."""
    first = list(islice(source, min(count, LOOKAHEAD)))

    def whole() -> Iterator[Pixels]:
        yield from first
        yield from source

    return first, islice(whole(), count)


def fastest(tried: Iterator[Plan | int]) -> Plan:
    """Return the last plan of :func:`scripts.choosing.automatic`, behind a progress bar."""
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task("policies", total=None)
        progress.update(bar, total=next(tried))
        *_, plan = progress.track(tried, task_id=bar)
    return plan


def places(plan: Plan, config: ModelConfig, hw: HwConfig, task: int) -> dict[str, str]:
    """Return where the operators that remember have their state."""
    keeping = Keeping(config, hw, task, plan)
    return {name: "memory" if name in keeping.streamed else "on chip"
            for name, choice in keeping.choices.items() if choice.policy in REMEMBERING}


@app.command()
@command
def video(
    model: Annotated[str, typer.Argument(help="Preset or quantized .safetensors file.")],
    source: Annotated[str, typer.Option("--input", help=(
        "Video file, folder of images, generator:fixed, generator:object or generator:pan. Files "
        "are shown upright; what is transparent is black."))],
    hardware_name: Annotated[str, typer.Option("--hardware", help="Hardware preset.")] = "zcu102",
    policy: Annotated[str, typer.Option(help=f"One of {', '.join(Policy)}, auto.")] = "auto",
    theta: Annotated[int, typer.Option(help="Largest difference that is left out.")] = 0,
    frames: Annotated[int, typer.Option(help="Most frames.")] = 16,
    task: Annotated[int, typer.Option(help="Task, from 0.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of a generator.")] = 0,
    engine: Annotated[str, typer.Option(help="simulator, or rtl for the Verilog too.")] = (
        "simulator"),
    latency: Annotated[int, typer.Option(help="Cycles of the memory's latency.")] = 20,
    interval: Annotated[int, typer.Option(help="Cycles from beat to beat of the memory.")] = 1,
    energy_table: Annotated[str, typer.Option(help="Energy cost table, or a file of one.")] = (
        "asic_28nm"),
    out: Annotated[Path | None, typer.Option(help="Folder for video.png.")] = None,
    json: JsonFile = None,
) -> None:
    """Run a video frame by frame and compare each with dense inference of the same frame."""
    hw, memory = hardware(hardware_name), MemoryModel(latency, interval)
    if engine not in ("simulator", "rtl"):
        raise ValueError(f"engine {engine!r} is neither simulator nor rtl")
    if frames < 1:
        raise ValueError(f"frames {frames} is not at least 1")
    check_outputs(json=json, folders={out: [PICTURE]} if out else {}, read=[
        file_of(model), file_of(energy_table, tables()), *pictures(source, out)])
    if engine == "rtl":
        from scripts.rtl_engine.engine import check_buildable

        check_buildable(hw)
    network = find(model).quantized
    if not 0 <= task < network.config.num_tasks:
        raise ValueError(f"task {task} is not in 0..{network.config.num_tasks - 1}")
    costs = find_table(energy_table)
    if policy != "auto":
        plan = named(policy, network.config, hw, task, theta)
    first, rest = begin(read_frames(source, network.config, frames, seed), frames)
    if policy == "auto":
        plan = fastest(automatic(network, hw, task, theta, first, memory))
    player, shown, made = Player(network, hw, task, plan, memory, costs), [], []
    for pixels in track(rest, "frames", frames, console=errors, transient=True,
                        disable=not errors.is_terminal):
        shown.append(pixels)
        made.append(player.show(pixels))
    result = {"model": model, "weights": weights(model), "hardware": hardware_name,
              "input": source, "policy": policy,
              "theta": theta, "operators": {
                  name: str(choice.policy) for name, choice in plan.resolve(
                      network.config).items()},
              "state": places(plan, network.config, hw, task),
              "frames": [asdict(frame) for frame in made], "summary": summary(made)}
    if engine == "rtl":
        result["rtl"] = on_rtl(player, shown)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write(out / PICTURE, film(shown, player.traces, made, network.config, result))
    if not emit(result, json):
        tell(result)


def tell(result: dict) -> None:
    """Print one row for each frame, and what the means are."""
    table = Table("frame", "density", "cycles", "dense", "speed-up", "energy, uJ", "bytes",
                  "elements differing", title=f"{result['model']} on {result['hardware']}, "
                                              f"{result['policy']}, theta {result['theta']}")
    for number, row in enumerate(result["frames"]):
        table.add_row(str(number), f"{row['density']:.1%}", f"{row['cycles']:,}",
                      f"{row['dense_cycles']:,}", f"{row['speedup']:.2f}",
                      f"{row['energy_pj'] / 1e6:.0f}", f"{row['bytes']:,}",
                      f"{row['mismatches']:,}")
    console.print(table)
    means = result["summary"]
    console.print(f"behind the first frame: density {means['density']:.1%}, "
                  f"{means['speedup']:.2f} x dense, {means['energy_pj'] / 1e6:.0f} uJ a frame "
                  f"({means['energy_low_pj'] / 1e6:.0f} to {means['energy_high_pj'] / 1e6:.0f})")
    for place in ("on chip", "memory"):
        kept = [name for name, where in result["state"].items() if where == place]
        if kept:
            console.print(f"state {place}: {', '.join(kept)}", highlight=False)
    if "rtl" in result:
        rtl = result["rtl"]
        console.print(f"Verilog: {sum(rtl['elements_differing'])} elements and "
                      f"{rtl['counters_differing']} counters differ, {rtl['cycles']:,} cycles")
