"""How deep the logic between the accelerator's registers is."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.synthesis import Synthesized, synthesized
from deltamoe.boards.synthesis import depth as logic
from deltamoe.boards.synthesis.parts import PARTS, Part
from deltamoe.boards.synthesis.units import Unit, split
from deltamoe.boards.synthesis.yosys import executable, unit_netlist, unit_netlist_script
from deltamoe.rtl.config import HwConfig
from deltamoe.terminal import Table

COUNTED = ("One level is a LUT and its wire; boards/synthesis/levels.py says what all other cells "
           "count. Each unit is synthesized alone and nothing is optimized across units, so the "
           "levels of a path through several units are an upper bound.")


def netlist(part: Part, unit: Unit, *, map_pairs: bool) -> dict:
    """Return the netlist of a unit."""
    return synthesized("netlist", unit_netlist_script(part, map_pairs=map_pairs), unit_netlist,
                       part, unit, map_pairs=map_pairs)


@dataclass(frozen=True)
class Levels(Synthesized):
    """LUT levels between the registers of an accelerator.

    Attributes
    ----------
    depth : logic.Depth
        The deepest paths, the levels by unit, and how many inputs of registers have how many.
    """

    depth: logic.Depth

    def figures(self) -> dict:
        return {
            "hardware": self.hw.name, "part": self.part.name, "yosys": self.yosys,
            "counted": COUNTED, "levels": self.depth.levels, "units": self.depth.units,
            "combinational": self.depth.combinational,
            "ends": {str(levels): self.depth.ends[levels] for levels in sorted(self.depth.ends)},
            "paths": [{"levels": path.levels, "from": path.start.name, "to": path.end.name,
                       "units": [{"unit": unit, "levels": levels} for unit, levels in path.units]}
                      for path in self.depth.paths]}

    def table(self) -> Group:
        units = Table(title=f"{self.hw.name} on {self.part.name}: LUT levels of the deepest path "
                            "that ends in each unit")
        units.add_column("unit")
        units.add_column("levels", justify="right")
        for unit, levels in self.depth.units.items():
            units.add_row(unit, f"{levels:.1f}")
        paths = Table(title="Deepest paths, and the levels in each unit on the way")
        for column in ("levels", "from", "to", "through"):
            paths.add_column(column, justify="right" if column == "levels" else "left",
                             overflow="fold")
        for path in self.depth.paths:
            paths.add_row(f"{path.levels:.1f}", path.start.name, path.end.name, ", ".join(
                f"{unit} {levels:.1f}" for unit, levels in path.units))
        ends = Table(title="Inputs of registers by the levels before them")
        for column in ("levels, at most", "inputs"):
            ends.add_column(column, justify="right")
        for levels in sorted(self.depth.ends):
            ends.add_row(f"{levels}", f"{self.depth.ends[levels]:,}")
        through = Table(title="Outputs that depend on inputs of the same unit in the same cycle, "
                              "and the levels between")
        for column in ("unit", "output", "levels"):
            through.add_column(column, justify="right" if column == "levels" else "left")
        for unit, outputs in self.depth.combinational.items():
            for output, levels in sorted(outputs.items(), key=lambda each: -each[1]):
                through.add_row(unit, output, f"{levels:.1f}")
        return Group(units, ends, through, paths, COUNTED, Text(self.yosys))


def levels(hw: HwConfig, target: str = "xcup", *, progress: Progress = QUIET) -> Levels:
    """Synthesize all units with Yosys, and find the deepest paths through all of them.

    Parameters
    ----------
    hw : HwConfig
        The accelerator.
    target : str
        Family of the part, of :data:`deltamoe.boards.synthesis.parts.PARTS`.
    progress : Progress
        Is told of every unit.

    Raises
    ------
    ValueError
        No such part; names those that there are. A cell whose levels are not known.
    ProgramError
        Yosys failed.
    """
    if target not in PARTS:
        raise ValueError(f"target {target!r} is not one of {', '.join(PARTS)}")
    part = PARTS[target]
    map_pairs = hw.packed and part.pair_map is not None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {unit.name: pool.submit(netlist, part, unit, map_pairs=map_pairs)
                for unit in progress.each(split(hw, box_pairs=map_pairs), "generating")}
        netlists = {name: job.result() for name, job in progress.each(
            jobs.items(), "synthesizing", len(jobs))}
    return Levels(hw, part, executable()[1], logic.depth(netlists, "Accelerator"))
