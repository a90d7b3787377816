"""State that streams to and from memory: the same bits and counters as if it were on chip."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.boards.verilator import engine
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import EVERY, Operator, Part
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.kept_state import Keeping, extent
from deltamoe.rtl.compiler.layout import even
from deltamoe.rtl.compiler.plans import delta_units, gate_units, named
from deltamoe.rtl.program import ErrorCode, Linear, Load, Store, Target, Transfer
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from tests.support.sequence import assert_dense, run_exactly
from tests.system.networks import draw_config, make
from tests.system.test_sequences import FRAMES, sequence

HW = replace(PRESETS["nano"], name="scarce", state_words=256, reference_words=192)
"""A window that holds no layer of some networks, and all of one layer but not of two of others."""

KEYS = Operator(Part.K, 0)


def both(config: ModelConfig, task: int, theta: int) -> Plan:
    """Token gates before all halves of blocks that stream, delta layers elsewhere."""
    units = (*delta_units(config, HW, theta), *gate_units(config, HW, task, theta))
    return Plan(Choice(Policy.DENSE), {
        operator: choice for unit in units if unit.streams(HW)
        for operator, choice in unit.choices.items()})


def plan_of(policy: str, config: ModelConfig, task: int = 0, theta: int = 0) -> Plan:
    return both(config, task, theta) if policy == "both" else named(policy, config, HW, task, theta)


def streamed(config: ModelConfig, policy: str = "delta") -> set[Operator]:
    return set(Keeping(config, HW, 0, plan_of(policy, config)).streamed)


def in_blocks(config: ModelConfig) -> bool:
    """A layer's rows do not fit at a time, and another's do only in pieces of its columns."""
    extents = {operator: extent(operator, config, HW) for operator in streamed(config)}
    return any(not one.whole and one.reference_words > HW.reference_words
               for one in extents.values()) and any(
        one.whole and one.state_words > HW.state_words for one in extents.values())


def in_part(config: ModelConfig) -> bool:
    """Some layers stay on chip."""
    return 0 < len(streamed(config)) < len(named("delta", config, HW).operators)


def behind_gates(config: ModelConfig) -> bool:
    """What the gates keep of dense halves of blocks is in memory, and what of experts.

    The windows hold no three of them, nor the sums of neighbors; the references end in half a beat.
    """
    behind = streamed(config, "token-gate")
    sums = [extent(operator, config, HW).state_words for operator in behind
            if operator.part == Part.FC2]
    references = config.num_tokens * config.embed_dim // HW.word
    return len(sums) > 2 and min(sums) + max(sums) > HW.state_words and (
        config.top_k > 1 and references % 2 == 1 and 3 * references > HW.reference_words)


def beside_gates(config: ModelConfig) -> bool:
    """Token gates before experts and delta layers share the windows, others the chip."""
    found = streamed(config, "both")
    kinds = {(operator.part, operator.expert) for operator in found}
    return {(Part.Q, None), (Part.FC2, EVERY)} <= kinds and (
        len(found) < len(plan_of("both", config).operators))


def draw(kind: Callable[[ModelConfig], bool], seed: int):
    """Return the first network of the kind, an image and a task."""
    number = 10_000 * seed
    while not kind(draw_config(np.random.default_rng(number), HW, "drawn")):
        number += 1
    return make(number, HW, "free")


def moved(program, kind: type[Transfer], target: Target) -> list[int]:
    """Places of the transfers to or from a memory."""
    return [number for number, descriptor in enumerate(program.descriptors)
            if isinstance(descriptor, kind) and descriptor.target == target]


@pytest.mark.verilator
@pytest.mark.parametrize("theta", [0, 2])
@pytest.mark.parametrize(("kind", "policy"), [
    (in_blocks, "delta"), (in_part, "delta"), (behind_gates, "token-gate"),
    (beside_gates, "both")])
def test_sequence(kind, policy: str, theta: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, image, task = draw(kind, seed)
    config = model.config
    plan = plan_of(policy, config, task, theta)
    frames = sequence(image, rng, FRAMES)
    reference = Temporal(model, plan)
    traces = [reference.run(frame, task) for frame in frames]
    program = compile_program(model, HW, task, plan, frames=FRAMES)
    result = run_exactly(program, frames, traces, plan, MemoryModel(31, 1 + theta))
    if not theta:
        assert_dense(model, frames, traces, task)
    stalled = engine.run(program, program.with_image(*(frame.numpy() for frame in frames)),
                         stall_seed=seed + 1)
    np.testing.assert_array_equal(stalled.memory, result.memory)
    for target in (Target.STATE, Target.REFERENCE):
        assert len(moved(program, Store, target)) >= FRAMES
    blocks = [linear.rows
              for label, linear in zip(program.labels, program.descriptors, strict=True)
              if isinstance(linear, Linear) and label.role is None
              and label.operator.part == Part.FC2]
    assert kind is not in_blocks or len(set(blocks)) > 1 or len(blocks) > FRAMES
    changed = [sent.any(-1) for trace in traces[1:] for product, sent in trace.sent.items()
               if kind in (behind_gates, beside_gates) and product.part == Part.GATE]
    assert bool(changed) == (policy != "delta")
    assert not changed or 0.1 < torch.cat(changed).float().mean() < 0.9


@pytest.mark.verilator
@pytest.mark.parametrize(("kind", "policy"), [(in_blocks, "delta"), (behind_gates, "token-gate")])
def test_a_later_program_finds_the_state_in_memory(kind, policy: str, seed: int) -> None:
    """One program for the first frame, another for each that follows."""
    rng = np.random.default_rng(seed)
    model, image, task = draw(kind, seed)
    config, plan = model.config, plan_of(policy, model.config, task, 1)
    chosen = {operator: choice for operator, choice in plan.operators.items()
              if policy == "token-gate" or (operator in streamed(config)
                                            and operator.expert is None)}
    plan = Plan(plan.default, chosen)
    assert Keeping(config, HW, task, plan).streamed == chosen.keys()
    first, later = (compile_program(model, HW, task, plan, continues=continues)
                    for continues in (False, True))
    assert first.start == later.start > 0
    reference, state, reads = Temporal(model, plan), np.zeros(first.start, np.uint8), []
    for number, frame in enumerate(sequence(image, rng, 4)):
        trace, program = reference.run(frame, task), later if number else first
        memory = program.with_image(frame.numpy())
        memory[: program.start] = state
        result = engine.run(program, memory)
        np.testing.assert_array_equal(program.outputs(result.memory)[0], trace.x.numpy())
        assert dict(simulate(program, from_trace(trace, config, plan)).counters) == result.counters
        state = result.memory[: program.start]
        reads.append(result.counters["bytes_read"])
    loads = sum(later.descriptors[place].beats * HW.bus_bytes for target in (
        Target.STATE, Target.REFERENCE) for place in moved(later, Load, target))
    assert loads >= later.start > 0
    assert reads[1] > reads[0] or policy == "token-gate"


@pytest.mark.verilator
@pytest.mark.parametrize("target", [Target.STATE, Target.REFERENCE])
def test_bus_error_of_a_transfer_that_runs_beside(target: Target, seed: int) -> None:
    """It is reported at its ``STORE``, which has long finished."""
    model, image, task = draw(in_blocks, seed)
    program = compile_program(model, HW, task, named("delta", model.config, HW, task))
    place = moved(program, Store, target)[-1]
    store = program.descriptors[place]
    result = engine.run(program, program.with_image(image.numpy()), fail_address=(
        store.address + (store.beats - 1) * HW.bus_bytes))
    assert (result.error, result.error_index) == (ErrorCode.BUS, place)


def test_what_no_window_holds() -> None:
    """Keys need all their rows at a time."""
    model, _, task = draw(in_blocks, 0)
    tiny = replace(HW, name="tiny", state_words=8)
    assert not named("delta", model.config, tiny).operators.keys() & {KEYS}
    plan = Plan(Choice(Policy.DENSE), {KEYS: Choice(Policy.DELTA)})
    with pytest.raises(ValueError, match=r"blocks\.0\.k.* keeps .* state_words .* at a time"):
        compile_program(model, tiny, task, plan)


@pytest.mark.parametrize("target", [Target.STATE, Target.REFERENCE])
@pytest.mark.parametrize("layer", [0, 1])
def test_gates_that_no_window_holds(layer: int, target: Target) -> None:
    """All that a gate keeps is needed at a time; one that finds no room has no other place."""
    model, _, task = draw(behind_gates, 0)
    gates = plan_of("token-gate", model.config, task).operators
    chosen = {operator: choice for operator, choice in gates.items() if operator.layer == layer}
    first, *_, last = chosen
    operator, field = (last, "state_words") if target == Target.STATE else (
        first, "reference_words")
    words = getattr(extent(operator, model.config, HW), field)
    words = even(words) if target == Target.REFERENCE else words
    plan = Plan(Choice(Policy.DENSE), chosen)
    enough, tiny = (replace(HW, **{field: even(words) - short}) for short in (0, 2))
    assert compile_program(model, enough, task, plan).start == 0, "on chip"
    every = named("token-gate", model.config, enough, task)
    assert chosen.keys() <= every.operators.keys()
    assert compile_program(model, enough, task, every).start > 0, "in memory"
    odd = named("token-gate", model.config, replace(enough, **{field: even(words) - 1}), task)
    assert not chosen.keys() & odd.operators.keys()
    assert not chosen.keys() & named("token-gate", model.config, tiny, task).operators.keys()
    with pytest.raises(ValueError, match=rf"^{operator} keeps {words} {field} at a time, the "
                                         rf"hardware has {even(words) - 2} left$"):
        compile_program(model, tiny, task, plan)
