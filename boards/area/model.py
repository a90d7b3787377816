"""What a design needs of a part, estimated in microseconds instead of synthesized in minutes.

Multipliers, block RAMs and the LUTs of distributed memory follow from the geometry; see
:mod:`deltamoe.boards.area.geometry`. The other LUTs and the flip-flops of one of each unit are a
sum of a few terms of the geometry with non-negative weights, fitted to Yosys' counts for the
designs in ``areas.json``, which ``python -m deltamoe.make.areas`` makes.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from math import log2
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from deltamoe.boards import PRESETS
from deltamoe.boards.area.geometry import block_rams, instances, multipliers, ram_luts
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.linear.compute_unit import ComputeUnit

PART = PARTS["xcup"]
CAPACITY = {name: PART.capacity[name] for name in ("lut", "ff", "dsp", "bram")}
FITTED = ("logic", "ff")
"""LUTs without those of :func:`deltamoe.boards.area.geometry.ram_luts`; flip-flops."""

Design = dict
"""An entry of ``areas.json``: preset, changes, counts by unit."""

def added(hw: HwConfig) -> int:
    """Return the flip-flops between the adders of the compute unit.

    Groups are added in pairs, a level a stage; a chain of two or more single words is a shift
    register in LUTs.
    """
    levels = [hw.groups]
    while len(levels) < ComputeUnit.READ_LATENCY:
        levels.append(-(-levels[-1] // 2))
    single = levels.count(1)
    return (sum(levels) - (single if single > 1 else 0)) * hw.word * hw.acc_width


def beside(hw: HwConfig) -> int:
    """Return the elements that are read beside a word."""
    return hw.word * (hw.read_words - 1)


ONE = (lambda hw: 1.0,)
WORD = (*ONE, lambda hw: hw.word)
TERMS: dict[str, Sequence[Callable[[HwConfig], float]]] = {
    "Datapath": (*WORD, lambda hw: hw.word * hw.temporal, lambda hw: hw.word * (hw.act_row - 2)),
    "ItemGenerator": (*ONE, lambda hw: hw.groups, lambda hw: hw.temporal),
    "OperandSource": (*WORD, lambda hw: hw.groups, lambda hw: hw.word * hw.temporal, beside),
    "EventEncoder": (*WORD, lambda hw: hw.word * hw.temporal, beside),
    "ComputeUnit": (*ONE, lambda hw: hw.groups, added),
    "Worker": (*WORD, lambda hw: hw.word * (hw.queue_words // 64), lambda hw: hw.banks),
    "LaneGroup": (*ONE, lambda hw: hw.word * hw.packed, lambda hw: hw.word * (not hw.packed)),
    "Drain": (*WORD, lambda hw: 6 * hw.groups / 64, lambda hw: hw.temporal),
    "CornerTurn": (*WORD, lambda hw: hw.word * log2(hw.word)),
    "Gate": (*WORD, lambda hw: hw.max_experts, lambda hw: hw.max_top_k),
    "KvWriter": (*WORD, lambda hw: hw.groups),
    "Dispatch": (*ONE, lambda hw: hw.queues * hw.max_tokens.bit_length()),
    "Probabilities": (*WORD, lambda hw: hw.attention_lag + 1),
    **dict.fromkeys(("Sequencer", "Loader", "StoreReader", "StorePorts", "Requantize",
                     "ActivationTable", "Combine", "Residual", "LayerNorm", "Softmax",
                     "KeptSums"), WORD),
}
"""What the logic of a unit grows with; one that is not named has always the same size."""


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
    return np.array([float(term(hw)) for term in TERMS.get(unit, ONE)])


def fit(given: Sequence[Design]) -> dict[tuple[str, str], np.ndarray]:
    """Return the weights of each unit's terms that make the squared relative errors least."""
    weights = {}
    for unit in {name for design in given for name in design["units"]}:
        having = [design for design in given if unit in design["units"]]
        terms = np.array([row(unit, hardware(design)) for design in having])
        for kind in FITTED:
            counts = np.array([
                design["units"][unit]["lut"] - ram_luts(hardware(design)).get(unit, 0)
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
    """Return LUTs, flip-flops, multipliers and block RAMs of a design for :data:`PART`."""
    weights, units, memory = weights or fitted(), instances(hw), ram_luts(hw)
    logic, flip_flops = (
        sum(count * float(row(unit, hw) @ weights[unit, kind]) for unit, count in units.items())
        for kind in FITTED)
    return {"lut": round(logic) + sum(units[unit] * luts for unit, luts in memory.items()),
            "ff": round(flip_flops), "dsp": multipliers(hw), "bram": block_rams(hw)}


@cache
def errors() -> tuple[dict[str, float], ...]:
    """Return the relative error of each design, as estimated from all others alone."""
    made = []
    for number, design in enumerate(designs()):
        others = fit([*designs()[:number], *designs()[number + 1:]])
        found, true = area(hardware(design), others), counted(design)
        made.append({name: found[name] / true[name] - 1 for name in CAPACITY})
    return tuple(made)
