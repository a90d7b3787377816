"""How fast the clock may be of the accelerator or a unit, placed and routed on a part."""

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import Any

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.boards.synthesis import nextpnr, yosys
from deltamoe.boards.synthesis.frame import Frame
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.boards.synthesis.units import UNITS, make
from deltamoe.cached import cached
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.generate import to_verilog
from deltamoe.terminal import Table

WHOLE = "Accelerator"
"""The unit that is all of the accelerator."""

MEASURED = ("Each port is in a register on the part and not at a pin: all paths that begin and end "
            "in registers of the unit or at its ports count.")

ALONE = "The unit is alone on the part; the rest of the accelerator is not there."


@dataclass(frozen=True)
class Routed(Result):
    """A unit that was placed and routed.

    Attributes
    ----------
    hardware, part, unit : str
        Of which accelerator, on what, and which.
    tools : dict
        Versions of ``yosys`` and ``nextpnr``.
    job : nextpnr.Job
        Seed of the placer, and the clock in MHz that was aimed at.
    date, netlist : str
        When it was routed, and the first digits of the SHA-256 of the netlist.
    timing : dict
        ``fmax_mhz``, the critical ``path`` in ns, and ``utilization`` by kind of cell.
    """

    hardware: str
    part: str
    unit: str
    tools: dict[str, str]
    job: nextpnr.Job
    date: str
    netlist: str
    timing: dict[str, Any]

    @property
    def measured(self) -> str:
        """What the clock is of."""
        return MEASURED if self.unit == WHOLE else f"{MEASURED} {ALONE}"

    def figures(self) -> dict:
        return {"hardware": self.hardware, "part": self.part, "unit": self.unit,
                "measured": self.measured, **self.tools, "seed": self.job.seed,
                "date": self.date, "netlist": self.netlist,
                "clock_mhz": self.job.clock_mhz, **self.timing}

    def table(self) -> Group:
        path = self.timing["path"]
        table = Table(title=f"{self.unit} of {self.hardware} on {self.part}: "
                            f"{self.timing['fmax_mhz']:.1f} MHz, critical path of "
                            f"{path['ns']:.1f} ns, {path['routing_ns'] / path['ns']:.0%} wires and "
                            f"{1 - path['routing_ns'] / path['ns']:.0%} logic")
        table.add_column("unit on the way")
        table.add_column("ns", justify="right")
        for step in path["units"]:
            table.add_row(step["unit"], f"{step['ns']:.1f}")
        return Group(
            table, *(Text(line, no_wrap=True, overflow="ignore") for line in (
                f"from {path['from']}", f"to {path['to']}")),
            ", ".join(f"{cells['used']:,} of {cells['available']:,} {name}"
                      for name, cells in self.timing["utilization"].items()),
            self.measured,
            Text(f"{self.tools['yosys']}; {self.tools['nextpnr']}; seed {self.job.seed}, aimed at "
                 f"{self.job.clock_mhz:g} MHz; {self.date}, netlist {self.netlist}"))


def place_and_route(hw: HwConfig, unit: str = WHOLE, *, target: str = "ecp5",
                    clock_mhz: float = 60, seed: int = 1, progress: Progress = QUIET) -> Routed:
    """Place and route with nextpnr: half an hour and more for all of it; results are kept.

    The netlist is kept too, so another seed is routed without another synthesis.

    Parameters
    ----------
    hw : HwConfig
        The accelerator.
    unit : str
        Name of :data:`deltamoe.boards.synthesis.units.UNITS`, with all that is in it; without it,
        all of the accelerator.
    target : str
        Family of the part, of :data:`deltamoe.boards.synthesis.parts.PARTS`, which an open tool
        must be able to route.
    clock_mhz : float
        Clock to aim at, in 1..1000 MHz.
    seed : int
        Where the placer begins.
    progress : Progress
        Is told of every stage.

    Raises
    ------
    ValueError
        Names the argument and what is allowed; or the part is too small.
    ProgramError
        Yosys or nextpnr failed.
    """
    families = [name for name, part in PARTS.items() if part.router]
    if target not in families:
        raise ValueError(f"target {target!r} is not one of {', '.join(families)}")
    if unit not in UNITS:
        raise ValueError(f"unit {unit!r} is not one of {', '.join(UNITS)}")
    if not 1 <= clock_mhz <= 1000:
        raise ValueError(f"clock {clock_mhz:g} is not in 1..1000 MHz")
    if not 0 <= seed < 1 << 31:
        raise ValueError(f"seed {seed} is not in 0..{(1 << 31) - 1}")
    part, job = PARTS[target], nextpnr.Job(clock_mhz=clock_mhz, seed=seed)
    tools = {"yosys": yosys.executable()[1], "nextpnr": nextpnr.executable(part.router)[1]}
    script = yosys.netlist_script(part)
    with progress.bar("generating") as update:
        text = to_verilog(Frame(make(UNITS[unit], hw)), "top")
        update(description="synthesizing")
        netlist = cached("framed", [tools["yosys"], script, text], lambda: {
            "netlist": yosys.run(script, {"top.v": text}, "netlist.json")})["netlist"]

        def run() -> dict:
            report = nextpnr.route(part, netlist, job, update)
            return {"date": date.today().isoformat(), "timing": nextpnr.timing(report, unit)}

        routed = cached("route", [tools["nextpnr"], netlist, *nextpnr.arguments(part, job)], run)
    return Routed(hw.name, part.name, unit, tools, job, routed["date"],
                  hashlib.sha256(netlist.encode()).hexdigest()[:12], routed["timing"])
