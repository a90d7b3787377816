"""One point of a sweep: compile, simulate, and add up."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path

from deltamoe.boards.area.model import CAPACITY, area
from deltamoe.experiments.sweep.spec import Spec
from deltamoe.golden.config import MODELS
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.sim.energy.estimate import energy
from deltamoe.sim.energy.table import find_table
from deltamoe.sim.machine import simulate
from deltamoe.sim.outline import Outline, facts

SOURCES = ("golden", "rtl", "sim", "boards", "experiments.sweep")
"""Packages that figures depend on."""


@dataclass(frozen=True)
class Outcome:
    """Figures of a design, or why there is no such design."""

    figures: dict[str, float] = field(default_factory=dict)
    refused: str = ""


@cache
def sources() -> str:
    """Return a digest of all that figures depend on."""
    folders = [Path(import_module(f"deltamoe.{name}").__file__).parent for name in SOURCES]
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))
             if path.suffix in {".py", ".json"}]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def evaluate(spec: Spec, values: Mapping[str, int]) -> Outcome:
    """Return the figures of the design with ``values``; it may exceed the limits."""
    config = MODELS[spec.model]
    try:
        hw = spec.geometry(values)
        program = compile_program(Outline(config), hw, spec.task)
    except ValueError as error:
        return Outcome(refused=str(error))
    memory, clock = spec.platform(values)
    result = simulate(program, facts(config, spec.task), memory)
    needed = area(hw)
    return Outcome({
        "cycles": result.cycles, "frames_per_s": clock * 1e6 / result.cycles,
        "utilization": result.utilization(hw.mac_units),
        "energy_pj": energy(result, hw, find_table(spec.energy_table), clock).total.typical,
        **needed, "area_share": max(needed[name] / CAPACITY[name] for name in CAPACITY)})


def excess(spec: Spec, outcome: Outcome) -> dict[str, float]:
    """Return by how much of it each limit is exceeded; negative where it is kept."""
    made = {}
    for name, limit in {**CAPACITY, **spec.limits}.items():
        over = outcome.figures[name] / limit - 1
        made[name] = -over if name in {"frames_per_s", "utilization"} else over
    return made
