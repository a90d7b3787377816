"""What the accelerator needs of a part, by unit: counted by Yosys, or estimated."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.boards.area import model as area
from deltamoe.boards.synthesis.parts import PARTS, RESOURCES, Part
from deltamoe.boards.synthesis.units import UNITS, Unit, split
from deltamoe.boards.synthesis.yosys import count, executable, script, sources
from deltamoe.cached import cached
from deltamoe.rtl.config import HwConfig
from deltamoe.terminal import Table

SUMMED = ("Each unit is synthesized alone, flattened, without the other units inside it, and "
          "multiplied by its instances; so all of the accelerator is counted once. Nothing is "
          "optimized across units and no two outputs share a LUT: LUTs are an upper bound.")


def synthesized(kind: str, commands: str, read: Callable[[str, dict[str, str]], dict], part: Part,
                unit: Unit, *, map_pairs: bool) -> dict:
    """Return what Yosys makes of one instance by ``commands``, from the cache if it has it.

    ``kind`` names it there; ``read`` runs the commands on a unit's files.
    """
    files = sources(part, unit.text, unit.boxes, map_pairs=map_pairs)
    return cached(kind, [executable()[1], commands, *files.values()],
                  lambda: read(commands, files))


def cells(part: Part, unit: Unit, *, map_pairs: bool) -> dict[str, int]:
    """Return the cells of one instance."""
    return synthesized("synth", script(part, map_pairs=map_pairs), count, part, unit,
                       map_pairs=map_pairs)


def chosen(hw: HwConfig, names: Sequence[str], *, map_pairs: bool) -> Iterator[Unit]:
    """Return the units of these names, and generate no more than that takes."""
    left = set(names)
    for unit in split(hw, box_pairs=map_pairs):
        if unit.name in left:
            yield unit
            left.remove(unit.name)
        if not left:
            return


@dataclass(frozen=True)
class Synthesized(Result):
    """An accelerator that Yosys has synthesized.

    Attributes
    ----------
    hw : HwConfig
        The accelerator.
    part : Part
        What it is for.
    yosys : str
        Version that synthesized.
    """

    hw: HwConfig
    part: Part
    yosys: str


@dataclass(frozen=True)
class Synthesis(Synthesized):
    """What the units of an accelerator need of a part.

    Attributes
    ----------
    units : list of dict
        By unit its ``instances``, what ``each`` needs, the ``cells`` of one, and the ``total``.
    """

    units: list[dict[str, Any]]

    @property
    def total(self) -> dict[str, float]:
        """What all of them need together, by resource."""
        return {name: sum(unit["total"][name] for unit in self.units) for name in RESOURCES}

    @property
    def share(self) -> dict[str, float]:
        """The same as a share of the part."""
        return {name: self.total[name] / self.part.capacity[name] for name in RESOURCES}

    def figures(self) -> dict:
        return {"hardware": self.hw.name, "part": self.part.name, "yosys": self.yosys,
                "summed": SUMMED, "units": self.units, "total": self.total,
                "capacity": self.part.capacity, "share": self.share}

    def table(self) -> Group:
        table = Table(title=f"{self.hw.name} on {self.part.name}: instances of a unit, and what "
                            "all of them need")
        for column in ("unit", "", "LUT", "of these memory", "FF", "DSP", self.part.block):
            table.add_column(column, justify="left" if column == "unit" else "right")
        for row in self.units:
            table.add_row(row["name"], f"{row['instances']}",
                          *(f"{row['total'][name]:,g}" for name in RESOURCES))
        table.add_section()
        table.add_row("total", "", *(f"{self.total[name]:,g}" for name in RESOURCES))
        table.add_row("capacity", "", *(f"{self.part.capacity[name]:,}" for name in RESOURCES))
        table.add_row("share", "", *(f"{self.share[name]:.1%}" for name in RESOURCES))
        return Group(table, SUMMED, Text(self.yosys))


def check_target(target: str, units: Sequence[str]) -> None:
    """Raise ValueError unless there is a part and a unit of each name."""
    if target not in PARTS:
        raise ValueError(f"target {target!r} is not one of {', '.join(PARTS)}")
    for name in units:
        if name not in UNITS:
            raise ValueError(f"unit {name!r} is not one of {', '.join(UNITS)}")


def synthesize(hw: HwConfig, target: str = "xcup", units: Sequence[str] = (), *,
               map_pairs: bool | None = None, progress: Progress = QUIET) -> Synthesis:
    """Synthesize units with Yosys, each alone, and count what they need.

    Parameters
    ----------
    hw : HwConfig
        The accelerator.
    target : str
        Family of the part, of :data:`deltamoe.boards.synthesis.parts.PARTS`.
    units : sequence of str
        Names of :data:`deltamoe.boards.synthesis.units.UNITS`; without any, all of them.
    map_pairs : bool, optional
        Whether packed pairs of multipliers are mapped to the part's own by a techmap; by default
        where there are such pairs and such a techmap.
    progress : Progress
        Is told of every unit.

    Raises
    ------
    ValueError
        No such part or unit; names those that there are.
    ProgramError
        Yosys failed.
    """
    check_target(target, units)
    part, names = PARTS[target], list(units or UNITS)
    if map_pairs is None:
        map_pairs = hw.packed and part.pair_map is not None
    rows = []
    with (progress.bar("generating", len(names)) as update,
          ThreadPoolExecutor(os.cpu_count()) as pool):
        jobs = [(unit, pool.submit(cells, part, unit, map_pairs=map_pairs))
                for unit in chosen(hw, names, map_pairs=map_pairs)]
        for done, (unit, job) in enumerate(jobs, 1):
            update(description=unit.name)
            found = job.result()
            each = {name: float(value) for name, value in part.cost(found).items()}
            rows.append({
                "name": unit.name, "instances": unit.instances, "each": each, "cells": found,
                "total": {name: unit.instances * value for name, value in each.items()}})
            update(completed=done)
    return Synthesis(hw, part, executable()[1], rows)


@dataclass(frozen=True)
class Estimate(Result):
    """What the area model says of an accelerator, and of each design that Yosys counted."""

    hw: HwConfig
    total: dict[str, float]
    designs: list[dict[str, Any]]

    def figures(self) -> dict:
        return {"hardware": self.hw.name, "part": area.PART.name, "total": self.total,
                "designs": self.designs}

    def table(self) -> Group:
        table = Table(title="Error of the estimate for designs that Yosys counted, each left out "
                            "of the fit")
        for name in ("design", *area.CAPACITY):
            table.add_column(name, justify="left" if name == "design" else "right")
        for row in self.designs:
            changes = " ".join(f"{name}={value}" for name, value in row["changes"].items())
            table.add_row(f"{row['preset']} {changes}", *(
                f"{row['counted'][name]:,g} {row['error'][name]:+.1%}" for name in area.CAPACITY))
        return Group(table, Text(f"{self.hw.name} on {area.PART.name}: about " + ", ".join(
            f"{count:,g} {name.upper()}" for name, count in self.total.items())))


def estimate(hw: HwConfig) -> Estimate:
    """Return the area that sweeps assume, without Yosys, and its errors where Yosys counted."""
    return Estimate(hw, area.area(hw), [
        {"preset": design["preset"], "changes": design["changes"],
         "counted": area.counted(design), "error": error}
        for design, error in zip(area.designs(), area.errors(), strict=True)])
