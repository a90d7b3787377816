"""Videos: frame after frame, by policy, each beside dense inference of the same frame."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.text import Text

from deltamoe.api.networks import Network, load
from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Pictured
from deltamoe.boards import clocks
from deltamoe.boards import hardware as hardware_by_name
from deltamoe.boards.clock import Clock, rates, speed
from deltamoe.experiments.points.setting import Setting
from deltamoe.experiments.policy_search import automatic
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.data.folder import files_of
from deltamoe.golden.data.video import Pixels
from deltamoe.golden.data.video import frames as read_frames
from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.quantization.report import sqnr
from deltamoe.golden.temporal.density import density
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import REMEMBERING, Plan
from deltamoe.host.outputs import identity
from deltamoe.lookup import weights
from deltamoe.rtl.compiler.kept_state import Keeping
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.energy.estimate import energy
from deltamoe.sim.energy.table import Table as Costs
from deltamoe.sim.energy.table import find_table
from deltamoe.sim.facts import from_trace, from_traces
from deltamoe.sim.memory import MemoryModel
from deltamoe.terminal import Table

PICTURE = "video.png"
"""The picture of a video's folder."""

LOOKAHEAD = 4
"""Frames by which the policy ``auto`` is chosen."""


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

    def __init__(self, setting: Setting, plan: Plan, costs: Costs) -> None:
        self.setting, self.plan, self.costs = setting, plan, costs
        self.reference = Temporal(setting.network, plan)
        self.programs = [setting.program(plan, continues=later) for later in (False, True)]
        self.dense = setting.program()
        self.traces: list[Trace] = []

    def show(self, pixels: Pixels) -> Frame:
        """Infer the next frame."""
        setting, config = self.setting, self.setting.network.config
        trace = self.reference.run(pixels, setting.task)
        dense = infer(setting.network, pixels, setting.task)
        result = setting.simulated(self.programs[bool(self.traces)],
                                   from_trace(trace, config, self.plan))
        before = setting.simulated(self.dense, from_trace(dense, config)).cycles
        counters, spent = result.counters, energy(
            result, setting.hw, self.costs, clocks(setting.hw)[-1].mhz).total
        self.traces.append(trace)
        wrong = int((trace.x != dense.x).sum())
        return Frame(
            density(trace, config), result.cycles, before, before / result.cycles,
            spent.typical, spent.low, spent.high,
            counters["bytes_read"] + counters["bytes_written"],
            sqnr(trace.x.double(), dense.x.double()) if wrong else None, wrong)


def on_rtl(player: Player, shown: list[Pixels], progress: Progress) -> dict:
    """Run all frames in Verilog; return elements and counters that are not as predicted."""
    from deltamoe.api.verilog import run_program

    setting = player.setting
    program = setting.program(player.plan, len(shown))
    result = run_program(program, *(frame.numpy() for frame in shown), memory=setting.memory,
                         progress=progress)
    expected = setting.simulated(program, from_traces(
        player.traces, setting.network.config, player.plan))
    return {
        "elements_differing": [int(np.count_nonzero(
            program.outputs(result.memory, number)[0] != trace.x.numpy()))
            for number, trace in enumerate(player.traces)],
        "counters_differing": sum(result.counters[name] != expected.counters[name]
                                  for name in expected.counters),
        "cycles": result.counters["cycles"]}


def places(plan: Plan, config: ModelConfig, hw: HwConfig, task: int) -> dict[str, str]:
    """Return where the operators that remember have their state."""
    keeping = Keeping(config, hw, task, plan)
    return {str(operator): "memory" if operator in keeping.streamed else "on chip"
            for operator, choice in keeping.choices.items() if choice.policy in REMEMBERING}


def begin(source: Iterator[Pixels], count: int) -> tuple[list[Pixels], Iterator[Pixels]]:
    """Return the frames that ``auto`` looks at, and all frames."""
    first = list(islice(source, min(count, LOOKAHEAD)))

    def whole() -> Iterator[Pixels]:
        yield from first
        yield from source

    return first, islice(whole(), count)


def fastest(tried: Iterator[Plan | int], progress: Progress) -> Plan:
    """Return the last plan of :func:`deltamoe.experiments.policy_search.automatic`."""
    *_, plan = progress.each(tried, "policies", next(tried))
    return plan


@dataclass(frozen=True)
class Playback(Pictured):
    """A video that was run.

    Attributes
    ----------
    network, hw, task : Network, HwConfig, int
        What ran on what.
    source, policy, theta : str, str, int
        What was shown, and what was left out.
    plan : Plan
        The same, operator by operator.
    shown : list of Pixels
        The frames, uint8 (C, height, width).
    traces : list of Trace
        What the plan computed of each.
    frames : list of Frame
        What each cost.
    rtl : dict, optional
        Elements and counters in which the Verilog differs, and its cycles, if it ran.
    """

    network: Network
    hw: HwConfig
    task: int
    source: str
    policy: str
    theta: int
    plan: Plan
    shown: list[Pixels]
    traces: list[Trace]
    frames: list[Frame]
    rtl: dict[str, Any] | None = None

    @cached_property
    def state(self) -> dict[str, str]:
        """Where the operators that remember have their state: ``on chip`` or ``memory``."""
        return places(self.plan, self.network.config, self.hw, self.task)

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Clocks that frames/s are stated at, with their evidence; the energy is at the last."""
        return clocks(self.hw)

    @property
    def summary(self) -> dict[str, float]:
        """Means over the frames behind the first, or of the only one."""
        later = self.frames[1:] or self.frames
        return {name: sum(getattr(frame, name) for frame in later) / len(later)
                for name in ("density", "cycles", "dense_cycles", "energy_pj", "energy_low_pj",
                             "energy_high_pj", "bytes", "mismatches")
                } | {"speedup": sum(frame.dense_cycles for frame in later)
                     / sum(frame.cycles for frame in later)}

    def figures(self) -> dict:
        values = {"model": self.network.name, "weights": weights(self.network.name),
                  "hardware": self.hw.name, "input": self.source, "policy": self.policy,
                  "theta": self.theta, "operators": {
                    str(operator): str(choice.policy) for operator, choice in self.plan.resolve(
                        self.network.config).items()},
                  "state": self.state, "frames": [asdict(frame) for frame in self.frames],
                  "summary": self.summary, "rates": rates(self.summary["cycles"], self.clocks)}
        return values if self.rtl is None else values | {"rtl": self.rtl}

    def table(self) -> Group:
        table = Table("frame", "density", "cycles", "dense", "speed-up", "energy, uJ", "bytes",
                      "elements differing", title=f"{self.network.name} on {self.hw.name}, "
                                                  f"{self.policy}, theta {self.theta}")
        for number, frame in enumerate(self.frames):
            table.add_row(str(number), f"{frame.density:.1%}", f"{frame.cycles:,}",
                          f"{frame.dense_cycles:,}", f"{frame.speedup:.2f}",
                          f"{frame.energy_pj / 1e6:.0f}", f"{frame.bytes:,}",
                          f"{frame.mismatches:,}")
        return Group(table, *self.said())

    def said(self) -> Iterator[str | Text]:
        """Yield lines on the means, where state is kept, and what the Verilog did."""
        means = self.summary
        yield (f"behind the first frame: density {means['density']:.1%}, "
               f"{means['speedup']:.2f} x dense, {means['energy_pj'] / 1e6:.0f} uJ a frame "
               f"({means['energy_low_pj'] / 1e6:.0f} to {means['energy_high_pj'] / 1e6:.0f})")
        yield speed(means["cycles"], self.clocks)
        for place in ("on chip", "memory"):
            kept = [name for name, where in self.state.items() if where == place]
            if kept:
                yield Text(f"state {place}: {', '.join(kept)}")
        if self.rtl is not None:
            yield (f"Verilog: {sum(self.rtl['elements_differing'])} elements and "
                   f"{self.rtl['counters_differing']} counters differ, "
                   f"{self.rtl['cycles']:,} cycles")

    def picture(self) -> bytes:
        """Return a PNG: the middle frame, its changed tokens, density and cycles over time."""
        from deltamoe.film import film

        return film(self.shown, self.traces, self.frames, self.network.config, self.figures())


def play(model: str | Path | Network, source: str, hardware: str = "zcu102", *,
         policy: str = "auto", theta: int = 0, frames: int = 16, task: int = 0, seed: int = 0,
         engine: str = "simulator", latency: int = 20, interval: int = 1,
         energy_table: str = "asic_28nm", progress: Progress = QUIET) -> Playback:
    """Run a video frame by frame and compare each with dense inference of the same frame.

    Parameters
    ----------
    model : str, Path or Network
        As :func:`deltamoe.api.networks.load` takes it.
    source : str
        Video file, folder of images, ``generator:fixed``, ``:object`` or ``:pan``.
    hardware : str
        Preset.
    policy : str
        ``dense``, ``zero-skip``, ``delta``, ``token-gate``; or ``auto``, which finds the fastest.
    theta : int
        Largest difference that is left out, in codes of int8.
    frames, task, seed : int
        Most frames, task from 0, and the seed of a generator.
    engine : str
        ``simulator``; or ``rtl`` to run the Verilog too.
    latency, interval : int
        Cycles to the first beat of the memory, and from beat to beat.
    energy_table : str
        ``asic_28nm``, ``fpga``, or a file of such a table.
    progress : Progress
        Is told of plans and frames.

    Raises
    ------
    ValueError
        Names what is wrong and what is allowed.
    """
    hw, memory = hardware_by_name(hardware), MemoryModel(latency, interval)
    if engine not in ("simulator", "rtl"):
        raise ValueError(f"engine {engine!r} is neither simulator nor rtl")
    if frames < 1:
        raise ValueError(f"frames {frames} is not at least 1")
    if engine == "rtl":
        from deltamoe.boards.verilator.engine import check_buildable

        check_buildable(hw)
    network = load(model)
    network.check_task(task)
    costs, setting = find_table(energy_table), Setting(
        network.weights.quantized, hw, memory, task)
    if policy != "auto":
        plan = named(policy, network.config, hw, task, theta)
    first, rest = begin(read_frames(source, network.config, frames, seed), frames)
    if policy == "auto":
        plan = fastest(automatic(setting, theta, first), progress)
    player, shown, run = Player(setting, plan, costs), [], []
    for pixels in progress.each(rest, "frames", frames):
        shown.append(pixels)
        run.append(player.show(pixels))
    rtl = on_rtl(player, shown, progress) if engine == "rtl" else None
    return Playback(network, hw, task, source, policy, theta, plan, shown, player.traces, run, rtl)
