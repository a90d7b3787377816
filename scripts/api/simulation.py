"""Simulations: every counter, the cycles of every layer and the energy, without the hardware."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.text import Text

from deltamoe.api.networks import Network
from deltamoe.api.program import Compilation, compiled
from deltamoe.api.result import Pictured
from deltamoe.boards import clocks
from deltamoe.boards.clock import Clock, rates, speed
from deltamoe.golden.temporal.policy import REMEMBERING, Policy
from deltamoe.host.files import write_all
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.energy.estimate import Energy, energy
from deltamoe.sim.energy.table import find_table
from deltamoe.sim.facts import Facts, from_trace, generated
from deltamoe.sim.machine import simulate as run
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.outline import facts as preset_facts
from deltamoe.sim.report.losses import CAUSES
from deltamoe.sim.report.spans import Result
from deltamoe.sim.report.trace import perfetto
from deltamoe.terminal import Table


@dataclass(frozen=True)
class Simulation(Pictured):
    """A simulated program.

    Attributes
    ----------
    compilation : Compilation
        What was simulated.
    result : deltamoe.sim.report.spans.Result
        Counters, layers, spans of work, and the cause of every lost cycle.
    energy : deltamoe.sim.energy.estimate.Energy
        Energy in pJ by layer, component, operand and kind, each with its bounds.
    clocks : sequence of Clock
        Clocks that frames/s are stated at, with their evidence; the energy is that at the last.
    seconds : float
        Time that the simulation took.
    """

    compilation: Compilation
    result: Result
    energy: Energy
    clocks: Sequence[Clock]
    seconds: float

    @property
    def cycles(self) -> int:
        """Cycles from start to finish."""
        return self.result.cycles

    @property
    def utilization(self) -> float:
        """Share of the multipliers' cycles that made a product.

        A product by a gate's weight of 16 bits is two by its planes of 8 bits, and counts as two.
        So it is 0.3 % more for ``m3vit-tiny-129`` than ``deltamoe bench`` prints, which divides
        the network's own multiplications.
        """
        return self.result.utilization(self.compilation.hw.mac_units)

    def figures(self) -> dict:
        result, spent = self.result, self.energy
        return {
            "model": self.compilation.network.name, "hardware": self.compilation.hw.name,
            "task": self.compilation.task,
            "cycles": result.cycles, "macs": result.counters["macs"],
            "mac_units": self.compilation.hw.mac_units, "utilization": self.utilization,
            "counters": dict(result.counters),
            "rates": rates(result.cycles, self.clocks),
            "layers": [{"name": str(layer.label), "cycles": layer.cycles, "macs": layer.macs,
                        "stalls": dict(layer.stalls)} for layer in result.layers],
            "lost": {"cycles": sum(result.losses.by_cause().values()),
                     "by_cause": result.losses.by_cause(),
                     "by_layer": result.losses.by_operator()},
            "energy_pj": {
                **spent.total.bounds, "table": spent.table.name, "kind": spent.table.kind,
                "meaning": spent.table.meaning, "gaps": dict(spent.table.gaps),
                "clock_mhz": spent.clock_mhz, "fps": spent.fps,
                **{f"by_{name}": {key: part.bounds for key, part in parts.items()}
                   for name, parts in (
                       ("component", spent.by_component()), ("operand", spent.by_operand()),
                       ("kind", spent.by_kind()), ("layer", spent.by_layer()))}},
            "seconds": self.seconds}

    def table(self) -> Group:
        result, mac_units = self.result, self.compilation.hw.mac_units
        return Group(self.layers(), lost(result),
                     f"{result.cycles:,} cycles, {self.utilization:.1%} of {mac_units} "
                     "multipliers busy", Text(speed(result.cycles, self.clocks)),
                     *spent(self.energy, self.clocks[-1]))

    def layers(self) -> Table:
        """Return the table of cycles, multiplications and the longest stall by layer."""
        table = Table("layer", "cycles", "MACs", "longest stall", title=(
            f"{self.compilation.network.name} on {self.compilation.hw.name}"))
        for layer in self.result.layers:
            cause = max(layer.stalls, key=lambda name: layer.stalls[name])
            table.add_row(str(layer.label), f"{layer.cycles:,}", f"{layer.macs:,}",
                          f"{cause} {layer.stalls[cause]:,}" if layer.stalls[cause] else "none")
        return table

    def picture(self) -> bytes:
        """Return a PNG: by operator, the cycles that its products need, and the rest."""
        from deltamoe.page import layers, png

        return png(layers(self.result, self.compilation.hw), dpi=110, bbox_inches="tight")

    def perfetto(self) -> str:
        """Return what each unit did when, as a trace for ui.perfetto.dev; a cycle is 1 us."""
        return perfetto({"simulator": self.result.spans})

    def accelergy(self) -> dict[str, str]:
        """Return the energy table and the action counts as Accelergy reads them, by file name."""
        from deltamoe.sim.energy.accelergy import export

        return export(self.result, self.energy)

    def write(self, trace: Path | None = None, accelergy: Path | None = None) -> None:
        """Write a trace to a file, and Accelergy's files into a folder, if there are such.

        Raises
        ------
        OSError
            Either cannot be written to; then neither is.
        """
        files = {trace: self.perfetto()} if trace else {}
        if accelergy:
            accelergy.mkdir(parents=True, exist_ok=True)
            files |= {accelergy / name: text for name, text in self.accelergy().items()}
        write_all(files)


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


def spent(energy_spent: Energy, clock: Clock) -> Iterator[Table | Text]:
    """Yield the energy by kind, and what the table has no price for."""
    table = Table("energy, uJ", "typical", "low", "high",
                  title=f"{energy_spent.table.name} at {clock}: {energy_spent.table.meaning}")
    for name, part in {**energy_spent.by_kind(), "total": energy_spent.total}.items():
        table.add_row(name, *(f"{value / 1e6:,.2f}" for value in (
            part.typical, part.low, part.high)))
    yield table
    for name, reason in energy_spent.table.gaps.items():
        yield Text(f"not priced: {name}: {reason}")


def known_facts(program: Compilation, image: Path | None) -> Facts:
    """Return the routing and, if there is an ``image``, the operands of it.

    Without one a preset has the routing of its default image, and a file's is drawn.
    """
    config = program.network.config
    if image is None:
        if program.policy != Policy.DENSE:
            raise ValueError(f"policy {program.policy} needs an image, since events depend on "
                             "the data")
        return preset_facts(config, program.task) if program.network.preset else (
            generated(config, 0))
    from deltamoe.golden.data.images import load_image
    from deltamoe.golden.engines import integer_output
    from deltamoe.golden.temporal.frames import Temporal

    weights = program.network.weights
    pixels = load_image(image, config, program.network.preprocessing)
    if program.policy in REMEMBERING:
        trace = Temporal(weights.quantized, program.plan).run(pixels, program.task)
        return from_trace(trace, config, program.plan)
    return from_trace(integer_output(weights, pixels, program.task)[1], config)


def simulate(model: str | Path | Network | Compilation, hardware: str | HwConfig | None = None, *,
             task: int | None = None, policy: str | None = None, image: str | Path | None = None,
             latency: int = 20, interval: int = 1, energy_table: str = "asic_28nm",
             clock_mhz: float | None = None, fps: float = 0.0) -> Simulation:
    """Predict every counter of the hardware, the cycles of every layer, and the energy.

    Parameters
    ----------
    model : str, Path, Network or Compilation
        A preset or a quantized file; or what :func:`deltamoe.api.program.compile` made of it, which
        has its ``hardware``, ``task`` and ``policy`` already.
    hardware : str or HwConfig, optional
        A preset, ``nano`` by default, or another geometry.
    task : int, optional
        Which of the network's tasks; 0 by default.
    policy : str, optional
        As :func:`deltamoe.api.program.compile` takes it; ``dense`` by default. Others need an
        image, since what they leave out depends on the data.
    image : str or Path, optional
        Image of the network's size that decides the routing. Without one it is that of a preset's
        default image, for which no weights are built, and is drawn for a file.
    latency, interval : int
        Cycles to the first beat of the memory, and from beat to beat.
    energy_table : str
        ``asic_28nm``, ``fpga``, or a file of such a table.
    clock_mhz : float, optional
        Clock in MHz, for frames/s and static energy; else those of the preset.
    fps : float
        Frames a second, the time until the next of which is idle; 0: none follows.

    Raises
    ------
    ValueError
        Names what is wrong and what is allowed.
    """
    costs, memory = find_table(energy_table), MemoryModel(latency, interval)
    compilation = compiled(model, hardware=hardware, task=task, policy=policy)
    if compilation.frames > 1:
        raise ValueError(f"frames {compilation.frames}: the facts of one image are known")
    facts = known_facts(compilation, None if image is None else Path(image))
    began = time.perf_counter()
    result = run(compilation.outline if image is None else compilation.program, facts, memory)
    stated = clocks(compilation.hw, clock_mhz)
    return Simulation(compilation, result,
                      energy(result, compilation.hw, costs, stated[-1].mhz, fps), stated,
                      time.perf_counter() - began)
