"""The figures of the README, beside the limits and other accelerators."""

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from rich.console import Group
from rich.table import Column

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result as Figures
from deltamoe.boards import BOARDS, PRESETS
from deltamoe.boards.board import Board
from deltamoe.boards.clock import rates
from deltamoe.boards.synthesis.parts import PARTS as SYNTHESIS
from deltamoe.experiments.layer_sparsity import measured
from deltamoe.experiments.layer_sparsity import table as sparsity_table
from deltamoe.experiments.points.setting import Setting
from deltamoe.golden.config import MODELS, ModelConfig
from deltamoe.host.processes import ProgramError, reason, run
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Load, Target
from deltamoe.sim.facts import Facts
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.outline import Outline, facts
from deltamoe.sim.report.spans import Result
from deltamoe.terminal import Table

HARDWARE = "zcu102"
MEMORY = BOARDS[HARDWARE].memory
FRAMES = {"m3vit-tiny-129": 553_000, "m3vit-tiny-197": 889_000, "deit-tiny-197": 886_000}
"""Models measured, and the cycles that a frame may take: 92 % of all multipliers."""

LARGER = {"m3vit-small-197": 0.92, "deit-small-197": 0.92, "dinov2-small-257": 0.92,
          "deit-tiny-577": 0.88, "vit-base-197": 0.88}
"""Models of which not all fits on chip at a time, and the share of the multipliers' cycles that a
frame must use."""

PEERS = {
    "Edge-MoE, M3ViT": 10_390_000, "CoQMoE, M3ViT": 1_940_000,
}
"""Cycles a frame, from the papers' milliseconds at 300 MHz on the same board, their clock."""

ROUTABLE = "ecp5"
"""Part of designs that are for no board."""

GATES = {"lut": 165_000, "dsp": 1000, "bram": 870}
"""Most that the hardware may need of a ZU9EG."""

PARTS = ("frames", "bandwidth", "sparsity", "simulator", "gates")

LONG = ("larger", "clock", "sdram")
"""Parts that are only measured by name: they take up to hours."""

SEEDS = (1, 2)
"""Where the placer begins, run by run."""


def needed_bytes(program, routing: Facts) -> int:
    """Bytes of the program, the images and all weights but those of experts without tokens."""
    hw, total = program.hw, len(program.descriptors) * 64
    for label, load in zip(program.labels, program.descriptors, strict=True):
        if isinstance(load, Load) and load.target != Target.PROGRAM:
            used = not load.skip_if_empty or routing.routed[label.operator.layer][load.expert]
            total += load.beats * hw.bus_bytes if used else 0
    return total


def predicted(config: ModelConfig, hw: HwConfig, memory: MemoryModel, frames: int = 1,
              task: int = 0) -> tuple[Result, int]:
    """Simulate some frames of a preset; return the result and the bytes they need."""
    setting, routing = Setting(Outline(config), hw, memory, task), facts(config, task)
    program = setting.program(batch=frames)
    routing = replace(routing, later=(routing,) * (frames - 1))
    return setting.simulated(program, routing), needed_bytes(program, routing)


def checked(name: str, memory: MemoryModel, frames: int = 1, task: int = 0,
            hardware: str = HARDWARE) -> dict[str, int]:
    """Run the Verilog; return elements that differ from golden, counters from the simulator."""
    from deltamoe.boards.verilator import engine
    from deltamoe.golden.integer import infer
    from deltamoe.golden.library import default_image, find
    from deltamoe.sim.facts import from_traces

    model = find(name).quantized
    image = default_image(model.config)
    trace = infer(model, image, task)
    program = compile_program(model, PRESETS[hardware], task, frames=frames)
    result = engine.run(program, program.with_image(*[image.numpy()] * frames),
                        latency=memory.latency, interval=memory.interval)
    expected = simulate(program, from_traces([trace] * frames, model.config), memory).counters
    bits = sum(int((program.outputs(result.memory, n)[0] != trace.x.numpy()).sum())
               for n in range(frames))
    return {"elements_differing": bits, "seconds": round(result.seconds, 1),
            "counters_differing": sum(result.counters[key] != expected[key] for key in expected),
            "cycles": result.counters["cycles"]}


def frame_rows(rtl: bool, progress: Progress) -> list[dict]:
    """Cycles of single frames, and of two behind each other."""
    cases = [(HARDWARE, name, task, 1) for name in FRAMES for task in range(MODELS[name].num_tasks)]
    cases += [(HARDWARE, "m3vit-tiny-129", 0, 2), ("ulx3s", "m3vit-tiny-129", 0, 1)]
    return [frame_row(hardware, name, task, frames,
                      FRAMES[name] * frames if hardware == HARDWARE else None, rtl)
            for hardware, name, task, frames in progress.each(cases, "frames")]


def frame_row(hardware: str, name: str, task: int, frames: int, limit: int | None,
              rtl: bool) -> dict:
    """Cycles of some frames, which may take ``limit``."""
    config, hw, board = MODELS[name], PRESETS[hardware], BOARDS[hardware]
    result, needed = predicted(config, hw, board.memory, frames, task)
    row = {"hardware": hardware, "model": name, "task": task, "frames": frames,
           "bytes_per_cycle": hw.bus_bytes / board.memory.interval,
           "cycles": result.cycles, "limit": limit,
           "utilization": frames * config.macs / (result.cycles * hw.mac_units),
           "rates": rates(result.cycles / frames, board.clocks),
           "bytes_read_to_needed": result.counters["bytes_read"] / needed}
    return row | ({"rtl": checked(name, board.memory, frames, task, hardware)} if rtl else {})


def most_cycles(name: str) -> int:
    """Return the cycles that a frame of a larger model may take."""
    return int(MODELS[name].macs / (LARGER[name] * PRESETS[HARDWARE].mac_units))


def larger_rows(rtl: bool, progress: Progress) -> list[dict]:
    """Cycles of single frames of the larger models."""
    cases = [(name, task) for name in LARGER for task in range(MODELS[name].num_tasks)]
    return [frame_row(HARDWARE, name, task, 1, most_cycles(name), rtl)
            for name, task in progress.each(cases, "frames")]


def bandwidth_rows(rtl: bool, progress: Progress) -> list[dict]:
    """Utilization against memory bandwidth and the size of the weight memory."""
    rows, config = [], MODELS["m3vit-tiny-129"]
    for interval, depth in progress.each(
            list(product((1, 2, 4, 8), (256, 512, 1024, 2048))), "bandwidth"):
        memory, hw = replace(MEMORY, interval=interval), replace(
            PRESETS[HARDWARE], weight_rows=depth)
        result, _ = predicted(config, hw, memory)
        row = {"bytes_per_cycle": hw.bus_bytes // interval,
               "weight_kib": depth * hw.groups * hw.lanes // 1024, "cycles": result.cycles,
               "utilization": config.macs / (result.cycles * hw.mac_units)}
        if rtl and interval > 1 and depth == PRESETS[HARDWARE].weight_rows:
            row |= {"rtl": checked("m3vit-tiny-129", memory)}
        rows.append(row)
    return rows


def simulator_row() -> dict:
    """Time and memory of one simulation, the process included; the best of three."""
    words = [sys.executable, "-m", "deltamoe", "simulate", "m3vit-tiny-129", "--hardware", HARDWARE,
             "--latency", str(MEMORY.latency), "--json", "-"]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = run(words)
        if done.returncode:
            raise ProgramError(f"{' '.join(words[1:4])} failed: {reason(done)}")
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": min(times), "limit_seconds": 1.0, "mib": peak, "limit_mib": 500}


def gates_row(progress: Progress) -> dict:
    """What all units need of the part, by Yosys."""
    from deltamoe.api.synthesis import synthesize

    synthesis = synthesize(PRESETS[HARDWARE], "xcup", progress=progress)
    return {"part": synthesis.part.name, "total": synthesis.total, "limit": GATES}


def clock_rows(progress: Progress) -> list[dict]:
    """Levels of all boards' logic and the clock they support; the routed clock by seed if any."""
    from deltamoe.api.depth import levels
    from deltamoe.api.place_and_route import place_and_route

    rows = []
    for board in BOARDS.values():
        target = board.part or ROUTABLE
        part = SYNTHESIS[target]
        deepest = levels(board.hardware, target, progress=progress).depth.levels
        routed = [place_and_route(board.hardware, target=target, seed=seed, progress=progress)
                  for seed in SEEDS if part.router]
        rows.append({"hardware": board.hardware.name, "part": part.rule.part, "levels": deepest,
                     "levels_mhz": part.rule.mhz(deepest), "rule": part.rule.source,
                     "routed": [run.figures() for run in routed]})
    return rows


def sdram_row(progress: Progress) -> dict:
    """What the memory of ``ulx3s`` gives, in a simulation of its SoC."""
    from deltamoe.experiments.sdram import sdram

    return sdram(progress)


def clock_table(rows: list[dict]) -> Table:
    """Return the clock that each board's logic supports, and those that it was routed at."""
    table = Table("hardware", "part", "LUT levels", "MHz by levels",
                  *(f"MHz routed, seed {seed}" for seed in SEEDS), "of the critical path, wires",
                  title="Clocks")
    for row in rows:
        routed = row["routed"]
        table.add_row(row["hardware"], row["part"], f"{row['levels']:.1f}",
                      f"{row['levels_mhz']:.1f}",
                      *([f"{run['fmax_mhz']:.1f}" for run in routed] or ["no tool"] * len(SEEDS)),
                      ", ".join(f"{run['path']['routing_ns'] / run['path']['ns']:.0%}"
                                for run in routed))
    return table


def frames_table(board: Board, rows: list[dict]) -> Table:
    """Return the table of one board."""
    table = Table(*(Column(name, no_wrap=True) for name in (
        "model and task", "cycles", "at most", "busy",
        *(f"frames/s at {clock}" for clock in board.clocks))),
                  "read / needed", "RTL", title=(
                      f"{board.hardware.name}: {rows[0]['bytes_per_cycle']:g} B/cycle, latency "
                      f"{board.memory.latency}, cold start"))
    for row in rows:
        times = f" x{row['frames']}" if row["frames"] > 1 else ""
        table.add_row(f"{row['model']}, {row['task']}{times}", f"{row['cycles']:,}",
                      f"{row['limit']:,}" if row["limit"] else "", f"{row['utilization']:.1%}",
                      *(f"{rate['frames_per_s']:.1f}" for rate in row["rates"]),
                      f"{row['bytes_read_to_needed']:.3f}",
                      verdict(row))
    if board.hardware.name == HARDWARE:
        for name, cycles in PEERS.items():
            table.add_row(name, f"{cycles:,}", "", "", *(
                f"{clock.frames_per_s(cycles):.1f}" if clock == board.clock else ""
                for clock in board.clocks), "", "")
    return table


def verdict(row: dict) -> str:
    """What the Verilog said of a row."""
    if "rtl" not in row:
        return ""
    rtl = row["rtl"]
    same = rtl["cycles"] == row["cycles"]
    return (f"{rtl['elements_differing']} bits, {rtl['counters_differing']} counters differ"
            + ("" if same else f", {rtl['cycles']:,} cycles"))


def bandwidth_table(rows: list[dict]) -> Table:
    """Return the utilization by bandwidth and weight memory."""
    sizes = sorted({row["weight_kib"] for row in rows})
    table = Table("B/cycle", *(f"{size} KiB" for size in sizes),
                  title="Utilization by memory bandwidth and weight memory, m3vit-tiny-129")
    for rate in sorted({row["bytes_per_cycle"] for row in rows}, reverse=True):
        cells = [row for row in rows if row["bytes_per_cycle"] == rate]
        table.add_row(str(rate), *(f"{row['utilization']:.1%}{verdict(row) and ' '}"
                                   f"{verdict(row)}" for row in cells))
    return table


@dataclass(frozen=True)
class Benchmark(Figures):
    """The parts that were measured, each with its rows or its figures."""

    parts: dict[str, list[dict] | dict]

    def figures(self) -> dict:
        return self.parts

    def table(self) -> Group:
        return Group(*self.shown())

    def shown(self) -> Iterator[Table | str]:
        """Yield the tables."""
        parts = self.parts
        for part in ("frames", "larger"):
            rows = parts.get(part, [])
            for hardware in dict.fromkeys(row["hardware"] for row in rows):
                yield frames_table(BOARDS[hardware], [
                    row for row in rows if row["hardware"] == hardware])
        if "bandwidth" in parts:
            yield bandwidth_table(parts["bandwidth"])
        if "sparsity" in parts:
            yield sparsity_table(parts["sparsity"])
        if "simulator" in parts:
            row = parts["simulator"]
            yield (f"simulator: {row['seconds']:.2f} s (at most {row['limit_seconds']:.1f}), "
                   f"{row['mib']:.0f} MiB (at most {row['limit_mib']})")
        if "clock" in parts:
            yield clock_table(parts["clock"])
        if "sdram" in parts:
            from deltamoe.experiments.sdram import table

            yield table(parts["sdram"])
        if "gates" in parts:
            row = parts["gates"]
            yield f"{row['part']}: " + ", ".join(
                f"{row['total'][name]:,.0f} {name.upper()} (at most {limit:,})"
                for name, limit in row["limit"].items())


def benchmark(only: str = "", *, rtl: bool = True, progress: Progress = QUIET) -> Benchmark:
    """Measure speed, bytes, the simulator and the area.

    Parameters
    ----------
    only : str
        One of :data:`PARTS` or :data:`LONG`; without it, all of the former.
    rtl : bool
        Whether to check against the Verilog, which takes minutes.
    progress : Progress
        Is told of every measurement.

    Raises
    ------
    ValueError
        No such part; or the Verilator model cannot be built.
    ProgramError
        A program that is measured failed.
    """
    if only and only not in (*PARTS, *LONG):
        raise ValueError(f"part {only!r} is not one of {', '.join((*PARTS, *LONG))}")
    if rtl and only in ("", "frames", "larger", "bandwidth", "sparsity"):
        from deltamoe.boards.verilator.engine import check_buildable

        check_buildable(PRESETS[HARDWARE])
    measure = {
        "frames": lambda: frame_rows(rtl, progress),
        "larger": lambda: larger_rows(rtl, progress),
        "bandwidth": lambda: bandwidth_rows(rtl, progress),
        "sparsity": lambda: measured(PRESETS[HARDWARE], rtl, progress),
        "simulator": simulator_row, "gates": lambda: gates_row(progress),
        "clock": lambda: clock_rows(progress), "sdram": lambda: sdram_row(progress)}
    return Benchmark({name: measure[name]() for name in ([only] if only else PARTS)})
