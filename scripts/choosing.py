"""The plan ``auto``: for each layer what pays on the first frames of a video."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from golden.config import ModelConfig
from golden.integer import Trace
from golden.policy import Choice, Plan, Policy, operator_of
from golden.quantized import QuantizedModel
from golden.temporal import Temporal
from golden.video import Pixels
from rtl.compiler import compile_program
from rtl.config import HwConfig
from rtl.plans import Unit, delta_units, fill, gate_units
from sim.facts import from_trace
from sim.machine import simulate
from sim.memory import MemoryModel


def share(unit: Unit, traces: Sequence[Trace]) -> float:
    """Return the share of a unit's multiplications that later frames still need."""
    first = next(iter(unit.choices))
    if unit.choices[first].policy == Policy.TOKEN_GATE:
        masks = [trace.sent[first].any(-1) for trace in traces]
    else:
        masks = [mask for trace in traces for product, mask in trace.sent.items()
                 if operator_of(product) in unit.choices]
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


ENOUGH = 0.85
"""Density above which zero-skipping is left alone: it places weights for few events."""


def zero_skipping(model: QuantizedModel, task: int, frame: Pixels) -> dict[str, Choice]:
    """Return the operators with enough zeros in their operands."""
    skip, sent, elements = Choice(Policy.ZERO_SKIP), Counter(), Counter()
    for product, mask in Temporal(model, Plan(skip)).run(frame, task).sent.items():
        sent[operator_of(product)] += int(mask.sum())
        elements[operator_of(product)] += mask.numel()
    return {name: skip for name, count in sent.items() if count < ENOUGH * elements[name]}


PAYS = (2.0, 1.0, 0.5)
"""Cycles of computation saved for each cycle of reading state that are tried as the least."""


def savings(config: ModelConfig, hw: HwConfig, task: int, theta: int, traces: Sequence[Trace]
            ) -> list[Unit]:
    """Return the units of :mod:`rtl.plans` with the multiplications that later frames save."""
    units = (*delta_units(config, hw, theta), *gate_units(config, hw, task, theta))
    saved = [replace(unit, macs=round(unit.macs * (1 - share(unit, traces)))) for unit in units]
    return [unit for unit in saved if unit.macs]


def keeping(units: Sequence[Unit], hw: HwConfig, interval: int) -> Iterator[dict[str, Choice]]:
    """Return choices to try: what is worth most of what fits on chip, and what streams."""
    yield fill(iter(units), hw)
    for least in PAYS:
        yield {name: choice for unit in units
               if unit.streams(hw) and unit.macs / hw.mac_units > least * unit.beats() * interval
               for name, choice in unit.choices.items()}


def automatic(model: QuantizedModel, hw: HwConfig, task: int, theta: int,
              frames: Sequence[Pixels], memory: MemoryModel) -> Iterator[Plan | int]:
    """Yield how many plans will be tried, each when it has been, and at last the fastest.

    A unit of :mod:`rtl.plans` is worth the multiplications that it saves on these frames, for
    each word that it keeps on chip or each cycle in which its state is read from memory; operators
    with enough zeros skip them. The plans so made compete in the simulator on the last of
    ``frames``: with a theta each by its own run, since what one layer leaves out changes the
    others' differences; else by the differences of a run that follows every operand. The best
    competes with dense by its own run, so it is slower on no video that goes on as it began.
    """
    dense, skipping = Choice(Policy.DENSE), zero_skipping(model, task, frames[0])
    run, plans = Temporal(model, Plan(Choice(Policy.DELTA, theta))), [Plan(dense)]
    first, *later = [run.run(frame, task) for frame in frames]
    units = savings(model.config, hw, task, theta, later) if hw.temporal and later else []
    for kept in ({}, *keeping(units, hw, memory.interval)):
        plans += [plan for plan in (Plan(dense, kept), Plan(dense, {**skipping, **kept}))
                  if plan not in plans]
    yield len(plans) + 1
    costs = []
    for plan in plans:
        seen = follow(model, task, plan, frames) if theta else [first, *later]
        costs.append(cost(model, hw, task, plan, seen, memory))
        yield plan
    best = plans[costs.index(min(costs))]
    exact = cost(model, hw, task, best, follow(model, task, best, frames), memory)
    yield best if exact <= costs[0] else plans[0]


def follow(model: QuantizedModel, task: int, plan: Plan, frames: Sequence[Pixels]) -> list[Trace]:
    """Return what a plan makes of frames."""
    run = Temporal(model, plan)
    return [run.run(frame, task) for frame in frames]


def cost(model: QuantizedModel, hw: HwConfig, task: int, plan: Plan, traces: Sequence[Trace],
         memory: MemoryModel) -> int:
    """Return the cycles of the last frame."""
    program = compile_program(model, hw, task, plan, continues=len(traces) > 1)
    return simulate(program, from_trace(traces[-1], model.config, plan), memory).cycles
