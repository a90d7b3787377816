"""``deltamoe synth``: what the accelerator needs of a part, by unit."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from boards import area
from boards.parts import PARTS, RESOURCES, Part
from boards.units import UNITS, Unit, split
from boards.yosys import count, executable, script
from rtl.config import HwConfig
from scripts.cached import cached
from scripts.cli import JsonFile, app, command, console, emit, errors
from scripts.host.files import read_text
from scripts.lookup import hardware
from scripts.terminal import Table

SUMMED = ("Each unit is synthesized alone, flattened, without the other units inside it, and "
          "multiplied by its instances; so all of the accelerator is counted once. Nothing is "
          "optimized across units and no two outputs share a LUT: LUTs are an upper bound.")


def cells(part: Part, unit: Unit, *, map_pairs: bool) -> dict[str, int]:
    """Return the cells of one instance, from the cache if it has them."""
    pairs = read_text(part.pair_map) if map_pairs else ""
    parts = [executable()[1], script(part, map_pairs=map_pairs), unit.text, unit.boxes, pairs]
    return cached("synth", parts,
                  lambda: count(part, unit.text, unit.boxes, map_pairs=map_pairs))


def chosen(hw: HwConfig, names: list[str], *, map_pairs: bool) -> Iterator[Unit]:
    """Return the units of these names, and generate no more than that takes."""
    left = set(names)
    for unit in split(hw, box_pairs=map_pairs):
        if unit.name in left:
            yield unit
            left.remove(unit.name)
        if not left:
            return


def measure(hw: HwConfig, part: Part, names: list[str], *, map_pairs: bool | None = None) -> dict:
    """Return what the units of these names need of ``part``, and all of them together.

    Packed pairs of multipliers are mapped to the part's own by a techmap where it has one, unless
    ``map_pairs`` says otherwise.
    """
    if map_pairs is None:
        map_pairs = hw.packed and part.pair_map is not None
    units = []
    with (Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress,
          ThreadPoolExecutor(os.cpu_count()) as pool):
        bar = progress.add_task("generating", total=len(names))
        jobs = [(unit, pool.submit(cells, part, unit, map_pairs=map_pairs))
                for unit in chosen(hw, names, map_pairs=map_pairs)]
        for unit, job in jobs:
            progress.update(bar, description=unit.name)
            found = job.result()
            each = {name: float(value) for name, value in part.cost(found).items()}
            units.append({
                "name": unit.name, "instances": unit.instances, "each": each, "cells": found,
                "total": {name: unit.instances * value for name, value in each.items()}})
            progress.advance(bar)
    total = {name: sum(unit["total"][name] for unit in units) for name in RESOURCES}
    return {
        "hardware": hw.name, "part": part.name, "yosys": executable()[1], "summed": SUMMED,
        "units": units, "total": total, "capacity": part.capacity,
        "share": {name: total[name] / part.capacity[name] for name in RESOURCES}}


def estimated(hw: HwConfig, path: Path | None) -> None:
    """Print the area model's estimate, and what it makes of each design that Yosys counted."""
    made = {"hardware": hw.name, "part": area.PART.name, "total": area.area(hw), "designs": [
        {"preset": design["preset"], "changes": design["changes"],
         "counted": area.counted(design), "error": error}
        for design, error in zip(area.designs(), area.errors(), strict=True)]}
    if emit(made, path):
        return
    table = Table(title="Error of the estimate for designs that Yosys counted, each left out of "
                        "the fit")
    for name in ("design", *area.CAPACITY):
        table.add_column(name, justify="left" if name == "design" else "right")
    for row in made["designs"]:
        changes = " ".join(f"{name}={value}" for name, value in row["changes"].items())
        table.add_row(f"{row['preset']} {changes}", *(
            f"{row['counted'][name]:,g} {row['error'][name]:+.1%}" for name in area.CAPACITY))
    console.print(table)
    console.print(f"{hw.name} on {area.PART.name}: about " + ", ".join(
        f"{count:,g} {name.upper()}" for name, count in made["total"].items()), highlight=False)


@app.command()
@command
def synth(
    hardware_name: Annotated[str, typer.Option("--hardware", help="Hardware preset.")] = "nano",
    target: Annotated[str, typer.Option(help="Family of the part: xcup or ecp5.")] = "xcup",
    unit: Annotated[list[str] | None, typer.Option(
        help="Only this unit; may be repeated. Without it, all.")] = None,
    estimate: Annotated[bool, typer.Option(
        "--estimate", help="By the model that sweeps use, and its errors; without Yosys.")] = False,
    json: JsonFile = None,
) -> None:
    """Synthesize with Yosys and count LUTs, flip-flops, multipliers and memory blocks by unit."""
    hw = hardware(hardware_name)
    if target not in PARTS:
        raise ValueError(f"target {target!r} is not one of {', '.join(PARTS)}")
    for name in unit or ():
        if name not in UNITS:
            raise ValueError(f"unit {name!r} is not one of {', '.join(UNITS)}")
    if estimate:
        if target != "xcup" or unit:
            raise ValueError("--estimate knows all of the accelerator on xcup, no --unit")
        estimated(hw, json)
        return
    part = PARTS[target]
    made = measure(hw, part, unit or list(UNITS))
    if emit(made, json):
        return
    table = Table(title=f"{hardware_name} on {part.name}: instances of a unit, and what all of "
                        "them need")
    for column in ("unit", "", "LUT", "of these memory", "FF", "DSP", part.block):
        table.add_column(column, justify="left" if column == "unit" else "right")
    for row in made["units"]:
        table.add_row(row["name"], f"{row['instances']}",
                      *(f"{row['total'][name]:,g}" for name in RESOURCES))
    table.add_section()
    table.add_row("total", "", *(f"{made['total'][name]:,g}" for name in RESOURCES))
    table.add_row("capacity", "", *(f"{made['capacity'][name]:,}" for name in RESOURCES))
    table.add_row("share", "", *(f"{made['share'][name]:.1%}" for name in RESOURCES))
    console.print(table)
    console.print(SUMMED)
    console.print(made["yosys"], highlight=False)
