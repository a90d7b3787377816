"""The plan ``auto``: for each layer what pays on the first frames of a video."""

from collections import Counter
from collections.abc import Sequence

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
        masks = [trace.sent[name] for trace in traces for name in unit.choices]
    return sum(float(mask.float().mean()) for mask in masks) / len(masks)


ENOUGH = 0.85
"""Density above which zero-skipping is left alone: it places weights for few events."""


def zero_skipping(model: QuantizedModel, task: int, frame: Pixels) -> dict[str, Choice]:
    """Return the operators with enough zeros in their operands."""
    skip, sent, elements = Choice(Policy.ZERO_SKIP), Counter(), Counter()
    for product, mask in Temporal(model, Plan(skip)).run(frame, task).sent.items():
        sent[operator_of(product)] += int(mask.sum())
        elements[operator_of(product)] += mask.numel()
    return {name: skip for name, count in sent.items() if count < ENOUGH * elements[name]}


def automatic(model: QuantizedModel, hw: HwConfig, task: int, theta: int,
              frames: Sequence[Pixels], memory: MemoryModel) -> Plan:
    """Return the plan that is fastest on the last of ``frames``.

    Each unit of :mod:`rtl.plans` is worth the multiplications that it saves on these frames, for
    each word that it keeps; operators with enough zeros skip them. The plan so filled competes
    with its parts and with dense, in the simulator, so it is slower than dense on no video that
    goes on as it began.
    """
    config, dense = model.config, Choice(Policy.DENSE)
    skipping = zero_skipping(model, task, frames[0])
    plans = [Plan(dense, skipping), Plan(dense)]
    if hw.temporal:
        units = [*delta_units(config, hw, theta), *gate_units(config, hw, task, theta)]
        saved = []
        for policy in (Policy.DELTA, Policy.TOKEN_GATE):
            run = Temporal(model, Plan(Choice(policy, theta)))
            traces = [run.run(frame, task) for frame in frames][1:]
            for unit in units:
                if unit.choices[next(iter(unit.choices))].policy == policy and traces:
                    left = share(unit, traces)
                    saved.append(Unit(unit.choices, unit.state_words, unit.reference_words,
                                      round(unit.macs * (1 - left))))
        chosen = fill(iter(unit for unit in saved if unit.macs), hw)
        plans[:0] = [Plan(dense, {**plan.operators, **chosen}) for plan in plans]
    return min(plans, key=lambda plan: cost(model, hw, task, plan, frames, memory))


def cost(model: QuantizedModel, hw: HwConfig, task: int, plan: Plan, frames: Sequence[Pixels],
         memory: MemoryModel) -> int:
    """Return the cycles of the last frame."""
    run = Temporal(model, plan)
    trace = [run.run(frame, task) for frame in frames][-1]
    program = compile_program(model, hw, task, plan, continues=len(frames) > 1)
    return simulate(program, from_trace(trace, model.config, plan), memory).cycles
