"""One design of a sweep: the figures of its point, and its area."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path

from deltamoe.boards.area.model import CAPACITY, area
from deltamoe.experiments.points.evaluate import Evaluator
from deltamoe.experiments.points.outcome import measured
from deltamoe.experiments.reading import fault
from deltamoe.experiments.sweep.spec import Spec

SOURCES = ("golden", "rtl", "sim", "boards", "experiments.points", "experiments.sweep")
"""Packages that figures depend on."""


@dataclass(frozen=True)
class Design:
    """Explored values, the figures or why there is no such design, and where it stands.

    ``fits`` if it keeps the limits, ``best`` if no other that does beats it.
    """

    values: dict[str, int]
    figures: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    fits: bool = False
    best: bool = False


@cache
def sources() -> str:
    """Return a digest of all that figures depend on."""
    folders = [Path(import_module(f"deltamoe.{name}").__file__).parent for name in SOURCES]
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))
             if path.suffix in {".py", ".json"}]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def evaluate(spec: Spec, values: Mapping[str, int]) -> Design:
    """Return the design with ``values``; it may exceed the limits."""
    try:
        point = spec.point(values)
        run = Evaluator(operands=False).run(point)
    except ValueError as error:
        return Design(dict(values), refused=fault(error))
    outcome, needed = measured(point, run, spec.energy_table), area(point.hardware.config)
    return Design(dict(values), {
        "cycles": run.results[0].cycles, "frames_per_s": outcome.frames_per_s,
        "utilization": outcome.utilization, "energy_pj": outcome.energy["total"].typical,
        **needed, "area_share": max(needed[name] / CAPACITY[name] for name in CAPACITY)})


def excess(spec: Spec, design: Design) -> dict[str, float]:
    """Return by how much of it each limit is exceeded; negative where it is kept."""
    shares = {}
    for name, limit in {**CAPACITY, **spec.limits}.items():
        over = design.figures[name] / limit - 1
        shares[name] = -over if name in {"frames_per_s", "utilization"} else over
    return shares
