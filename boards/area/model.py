"""What a design needs of a part, estimated in microseconds instead of synthesized in minutes.

Multipliers, block RAMs and the LUTs of distributed memory follow from the geometry; see
:mod:`deltamoe.boards.area.geometry`. The other LUTs and the flip-flops of one of each unit are a
sum of a few terms with non-negative weights: a constant, and what the unit's record says that it
grows with. They are fitted to Yosys' counts for the designs in ``areas.json``, which
``python -m deltamoe.make.areas`` makes.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from deltamoe.boards import PRESETS
from deltamoe.boards.area.geometry import areas, block_rams, luts, multipliers
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.boards.synthesis.units import UNITS
from deltamoe.rtl.config import HwConfig

PART = PARTS["xcup"]
CAPACITY = {name: PART.capacity[name] for name in ("lut", "ff", "dsp", "bram")}
FITTED = ("logic", "ff")
"""LUTs without those of :func:`memory`; flip-flops."""

Design = dict
"""An entry of ``areas.json``: preset, changes, counts by unit."""


@cache
def designs() -> tuple[Design, ...]:
    """Return what Yosys counted."""
    return tuple(json.loads(Path(__file__).with_name("areas.json").read_text("utf-8")))


def hardware(design: Design) -> HwConfig:
    """Return the geometry of a design."""
    return HwConfig(**{**vars(PRESETS[design["preset"]]), **design["changes"]})


def counted(design: Design) -> dict[str, float]:
    """Return what Yosys counted for all of a design."""
    return {name: sum(unit["instances"] * unit[name] for unit in design["units"].values())
            for name in CAPACITY}


def row(unit: str, hw: HwConfig) -> np.ndarray:
    """Return the terms of a unit."""
    return np.array([1.0, *map(float, UNITS[unit].record.area.grows(hw))])


def memory(unit: str, hw: HwConfig) -> int:
    """Return the LUTs of distributed memory in one of a unit that follow from its size."""
    return sum(map(luts, UNITS[unit].record.area.distributed(hw)))


def fit(counted_designs: Sequence[Design]) -> dict[tuple[str, str], np.ndarray]:
    """Return the weights of each unit's terms that make the squared relative errors least."""
    weights = {}
    for unit in {name for design in counted_designs for name in design["units"]}:
        having = [design for design in counted_designs if unit in design["units"]]
        terms = np.array([row(unit, hardware(design)) for design in having])
        for kind in FITTED:
            counts = np.array([
                design["units"][unit]["lut"] - memory(unit, hardware(design))
                if kind == "logic" else design["units"][unit]["ff"] for design in having])
            scale = 1 / np.maximum(counts, 1)
            weights[unit, kind] = nnls(terms * scale[:, None], counts * scale)[0]
    return weights


@cache
def fitted() -> dict[tuple[str, str], np.ndarray]:
    """Return the weights by all designs."""
    return fit(designs())


def area(hw: HwConfig, weights: dict[tuple[str, str], np.ndarray] | None = None,
         ) -> dict[str, float]:
    """Return LUTs, flip-flops, multipliers and block RAMs of a design for :data:`PART`.

    Raises
    ------
    ValueError
        It has a unit that no design has of which Yosys has counted the area.
    """
    weights = weights or fitted()
    unknown = [name for name, *_ in areas(hw) if (name, FITTED[0]) not in weights]
    if unknown:
        raise ValueError(f"{hw.name}: the area of {' and '.join(unknown)} is not estimated, since "
                         "no design with one has been counted; deltamoe synth counts it")
    logic, flip_flops = (
        sum(count * float(row(unit, hw) @ weights[unit, kind]) for unit, count, _ in areas(hw))
        for kind in FITTED)
    return {"lut": round(logic) + sum(count * memory(unit, hw) for unit, count, _ in areas(hw)),
            "ff": round(flip_flops), "dsp": multipliers(hw), "bram": block_rams(hw)}


@cache
def errors() -> tuple[dict[str, float], ...]:
    """Return the relative error of each design, as estimated from all others alone."""
    relative = []
    for number, design in enumerate(designs()):
        others = fit([*designs()[:number], *designs()[number + 1:]])
        estimated, true = area(hardware(design), others), counted(design)
        relative.append({name: estimated[name] / true[name] - 1 for name in CAPACITY})
    return tuple(relative)
