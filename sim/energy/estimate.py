"""Energy as intervals: what was done and how long it took, times a cost table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from deltamoe.rtl.config import HwConfig
from deltamoe.sim.energy.table import ENTRIES, Interval, Table, entry_of
from deltamoe.sim.report.spans import Result

KINDS = ("dynamic", "static", "refresh", "idle")
"""By action; by time while it computes; for the memory's refresh; by time until the next frame."""

IDLE = "idle"
"""The entry of the time in which nothing is computed."""

STANDING = (
    ("multipliers", "static", "multiplier_static"), ("device", "static", "device_static"),
    ("dram", "static", "dram_background"), ("dram", "refresh", "dram_refresh"),
)
"""Component, kind and entry of the power that is taken while the accelerator computes."""

WAITING = (("multipliers", "multiplier_static"), ("device", "device_idle"),
           ("dram", "dram_background"), ("dram", "dram_refresh"))
"""Component and entry of the power that is taken while it waits."""


class Part(NamedTuple):
    """Where energy went: for which layer, in which component, on which operand, and why."""

    layer: str
    component: str
    operand: str
    kind: str


@dataclass(frozen=True)
class Energy:
    """A run's energy by part, in pJ; every sum over parts is one of the same intervals."""

    table: Table
    clock_mhz: float
    fps: float
    parts: Mapping[Part, Interval]

    def by(self, key: Callable[[Part], str]) -> dict[str, Interval]:
        """Return sums over the parts with equal ``key``."""
        sums: dict[str, list[float]] = {}
        for part, spent in self.parts.items():
            total = sums.setdefault(key(part), [0.0, 0.0, 0.0])
            total[0] += spent.low
            total[1] += spent.typical
            total[2] += spent.high
        return {name: Interval(*total, self.table.name) for name, total in sums.items()}

    def by_layer(self) -> dict[str, Interval]:
        """Return the sum of every layer, of the program, and of idle time."""
        return self.by(lambda part: part.layer)

    def by_component(self) -> dict[str, Interval]:
        """Return the sum of every component."""
        return self.by(lambda part: part.component)

    def by_operand(self) -> dict[str, Interval]:
        """Return the sum of every operand, ``none`` for what time costs."""
        return self.by(lambda part: part.operand)

    def by_kind(self) -> dict[str, Interval]:
        """Return the sum of every kind."""
        return dict.fromkeys(KINDS, self.table.price("")) | self.by(lambda part: part.kind)

    @property
    def total(self) -> Interval:
        """Sum of all parts."""
        return self.by(lambda _: "total").get("total", self.table.price(""))


def energy(result: Result, hw: HwConfig, table: Table, clock_mhz: float,
           fps: float = 0.0) -> Energy:
    """Return the energy of a simulated run at ``clock_mhz``.

    With ``fps``, the time until the next frame is due is idle: ``1 / fps - cycles / clock``. Power
    standing by is shared out by each layer's cycles.

    Raises
    ------
    ValueError
        The clock is not positive, or the frames cannot come that fast.
    """
    if not clock_mhz > 0:
        raise ValueError(f"clock {clock_mhz} MHz is not above 0")
    if not fps >= 0:
        raise ValueError(f"fps {fps} is not at least 0")
    parts: dict[Part, Interval] = {}

    def add(part: Part, price: Interval, count: float) -> None:
        spent = price * count
        parts[part] = parts[part] + spent if part in parts else spent

    prices = {entry: table.price(entry) for entry in ENTRIES}
    for act, count in result.acts.items():
        entry = entry_of(act)
        if entry:
            add(Part(act.layer, act.component, act.operand, "dynamic"), prices[entry], count)
    def power(component: str, entry: str) -> Interval:
        return prices[entry] * (hw.mac_units if component == "multipliers" else 1)

    for component, kind, entry in STANDING:
        taken = power(component, entry)
        for layer, share in result.shares.items():
            add(Part(layer, component, "none", kind), taken,
                share.get("cycles", 0) * 1e3 / clock_mhz)
    waits = waiting(result.cycles, clock_mhz, fps)
    for component, entry in WAITING if waits else ():
        add(Part(IDLE, component, "none", "idle"), power(component, entry), waits)
    return Energy(table, clock_mhz, fps, parts)


def waiting(cycles: int, clock_mhz: float, fps: float) -> float:
    """Return the nanoseconds until the next frame is due, 0 if none is awaited."""
    if not fps:
        return 0.0
    most = clock_mhz * 1e6 / cycles
    if fps > most:
        raise ValueError(f"fps {fps:g} is more than the {most:.1f} that {cycles} cycles at "
                         f"{clock_mhz:g} MHz allow")
    return 1e9 / fps - cycles * 1e3 / clock_mhz
