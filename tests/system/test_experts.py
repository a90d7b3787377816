"""Tokens that change their experts: what is kept of one counts while the token stays with it.

No bit differs from golden, and none from dense inference with theta 0; no counter differs from the
simulator.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards.verilator import engine
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.operators import EVERY, Operator, Part, feed_forward, operators
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.kept_state import Keeping, extent
from deltamoe.rtl.compiler.placement import pieces_of
from deltamoe.rtl.compiler.plans import delta_units, named
from deltamoe.rtl.label import Role, What
from deltamoe.rtl.program import Store, Target
from deltamoe.sim.memory import MemoryModel
from tests.support.sequence import assert_dense, run_exactly
from tests.system.networks import HARDWARE, draw_config, make
from tests.system.test_sequences import FRAMES, sequence
from tests.system.test_streams import HW as SCARCE
from tests.system.test_streams import moved

NANO, SMALL = HARDWARE["nano"], HARDWARE["small"]
DELTA, ZERO_SKIP = Policy.DELTA, Policy.ZERO_SKIP


def experts_of(plan: Plan) -> set[Operator]:
    return {operator for operator in plan.operators if operator.expert is EVERY}


def kept(config: ModelConfig, task: int, theta: int) -> Plan:
    """Delta experts behind a delta gate, all on chip; the rest skips zeros."""
    chosen = [operator for operator in operators(config) if operator.expert is EVERY or (
        operator.part == Part.GATE and operator.runs_for(task))]
    return Plan(Choice(ZERO_SKIP), dict.fromkeys(chosen, Choice(DELTA, theta)))


def second(config: ModelConfig, task: int, theta: int) -> Plan:
    """The experts' second layers alone, cut into pieces where the weight memory is small."""
    return Plan(Choice(Policy.DENSE), {
        Operator(Part.FC2, layer, EVERY): Choice(DELTA, theta)
        for layer in range(config.num_layers) if config.is_moe(layer)})


def streamed(config: ModelConfig, task: int, theta: int) -> Plan:
    """All that finds room, and the experts find it in memory."""
    return named("delta", config, SCARCE, task, theta)


def suits(config: ModelConfig, hw, plan) -> bool:
    """A token has a choice of several experts, and the kind of plan is what it says."""
    if config.num_layers < 2 or not 1 < config.top_k < config.num_experts:
        return False
    planned = plan(config, 0, 0)
    if hw is SCARCE:
        return bool(experts_of(planned) & Keeping(config, hw, 0, planned).streamed)
    return hw is NANO or len(pieces_of(config.expert_dim, config.embed_dim, hw)) > 1


def draw(hw, plan, seed: int):
    """Return the first network that suits, an image and a task."""
    number = 10_000 * seed
    while not suits(draw_config(np.random.default_rng(number), hw, "drawn"), hw, plan):
        number += 1
    return make(number, hw, "free")


def film(image: torch.Tensor, rng: np.random.Generator) -> list[torch.Tensor]:
    """A sequence that another image interrupts, so that tokens go and come back."""
    frames = sequence(image, rng, FRAMES)
    for number in (3, 4, 10):
        frames[number] = torch.from_numpy(rng.integers(0, 256, image.shape).astype(np.uint8))
    return frames


def wanderings(traces: Sequence[Trace], layer: int) -> tuple[int, int]:
    """Return how often a token left an expert, and how often it came back later."""
    held = torch.stack([torch.nn.functional.one_hot(trace.routes[layer][0], 16).sum(1)
                        for trace in traces])                                # (F, T, E)
    seen = held.cumsum(0) > 0
    left, entered = ((held[1:] - held[:-1] == step) for step in (-1, 1))
    return int(left.sum()), int((entered & seen[:-1]).sum())


def moving(hw, plan, theta: int, seed: int):
    """Return the first network, task, plan, frames and traces whose tokens change their experts.

    Often enough, back to one that they left, and so that of some a slot is known and of some not.
    """
    for number in range(1000 * seed, 1000 * seed + 20):
        model, image, task = draw(hw, plan, number)
        chosen = plan(model.config, task, theta)
        frames = film(image, np.random.default_rng(number))
        reference = Temporal(model, chosen)
        traces = [reference.run(frame, task) for frame in frames]
        known = torch.cat([mask for trace in traces[1:]
                           for product, mask in trace.known.items()
                           if product.expert is not None])
        if min(wanderings(traces, 1)) > 10 and 0.1 < known.float().mean() < 0.95:
            return model, task, chosen, frames, traces
    raise AssertionError("no tokens of twenty networks move")


@pytest.mark.verilator
@pytest.mark.parametrize("theta", [0, 2])
@pytest.mark.parametrize(("hw", "plan"), [(NANO, kept), (SMALL, second), (SCARCE, streamed)])
def test_sequence(hw, plan, theta: int, seed: int) -> None:
    model, task, chosen, frames, traces = moving(hw, plan, theta, seed)
    program = compile_program(model, hw, task, chosen, frames=FRAMES)
    run_exactly(program, frames, traces, chosen, MemoryModel(23, 1 + theta))
    if not theta:
        assert_dense(model, frames, traces, task)
    second = [label for label in program.labels if label.operator
              and (label.operator.part, label.operator.expert) == (Part.FC2, 0)]
    assert (len(second) > 3 * FRAMES * model.config.num_layers // 2) == (hw is SMALL), "pieces"
    stores = [label for label in program.labels if label.role == Role.STORE
              and label.operator and label.operator.expert is EVERY]
    assert bool(stores) == (hw is SCARCE)


@pytest.mark.verilator
def test_stalls_change_no_bit(seed: int) -> None:
    model, image, task = draw(SCARCE, streamed, seed)
    frames = film(image, np.random.default_rng(seed))
    program = compile_program(model, SCARCE, task, streamed(model.config, task, 0), frames=FRAMES)
    memory = program.with_image(*(frame.numpy() for frame in frames))
    stalled = engine.run(program, memory, stall_seed=seed + 1)
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(program.outputs(stalled.memory, number)[0],
                                      infer(model, frame, task).x.numpy())
    for target in (Target.STATE, Target.REFERENCE):
        assert moved(program, Store, target)


@pytest.mark.parametrize(("continues", "policy", "count"), [
    (False, "token-gate", 8), (True, "token-gate", 4), (True, "delta", 8)])
def test_weights_that_are_loaded_ahead_of_the_gate(continues: bool, policy: str, count: int,
                                                   seed: int) -> None:
    """Those of experts that were always needed; behind a gate only of the most used ones."""
    usage = np.stack([np.roll(np.arange(8), 3), np.arange(8) % 3]).astype(np.int64)
    model, _, task = used(8, 2, usage, seed)
    program = compile_program(model, NANO, task, named(policy, model.config, NANO, task),
                              continues=continues)
    assert ahead(program) == [
        expert for expert in np.argsort(-usage[0]).tolist()[:count] if usage[1, expert]]


def used(experts: int, top_k: int, usage: np.ndarray, seed: int,
         ) -> tuple[QuantizedModel, torch.Tensor, int]:
    """Return a network whose experts calibration used as often as ``usage``, an image, a task."""
    number = 10_000 * seed
    while (config := draw_config(np.random.default_rng(number), NANO, "drawn")).num_layers < 2 or (
            config.num_experts, config.top_k) != (experts, top_k):
        number += 1
    model, image, task = make(number, NANO, "free")
    counts = torch.from_numpy(usage)
    return QuantizedModel(model.config, {
        name: counts if tensor_formats(model.config)[name].kind == "usage" else tensor
        for name, tensor in model.tensors.items()}), image, task


def ahead(program: Program) -> list[int]:
    """Return the experts of the second layer whose weights do not wait for the gate."""
    return [label.operator.expert for label, load in zip(
        program.labels, program.descriptors, strict=True)
        if label.what == What.WEIGHTS and label.operator.expert is not None
        and (label.operator.part, label.operator.layer) == (Part.FC1, 1)
        and load.wait_computes < load.routed]


@pytest.mark.verilator
@pytest.mark.parametrize(("policy", "count"), [("dense", 3), ("zero-skip", 3), ("token-gate", 0)])
def test_every_token_has_every_expert(policy: str, count: int, seed: int) -> None:
    """All weights are loaded ahead, whatever calibration says, unless tokens may be unchanged."""
    usage = np.stack([np.arange(3), np.zeros(3)]).astype(np.int64)
    model, image, task = used(3, 3, usage, seed)
    plan, frames = named(policy, model.config, NANO, task), [image, image.roll(1, -1)]
    reference = Temporal(model, plan)
    traces = [reference.run(frame, task) for frame in frames]
    program = compile_program(model, NANO, task, plan, frames=len(frames))
    assert ahead(program) == [2, 1, 0][:count] * len(frames)
    run_exactly(program, frames, traces, plan)
    assert_dense(model, frames, traces, task)


def test_units_fit_as_they_are_offered(seed: int) -> None:
    """An expert's first layer only beside its second; no more layers than are remembered."""
    config = replace(draw(NANO, kept, seed)[0].config, num_layers=99)
    sizes = [extent(operator, config, NANO).state_words for operator in feed_forward(config, 1)]
    for spare, parts in ((-1, {"fc2"}), (0, {"fc1", "fc2"})):
        hw = replace(NANO, state_words=sum(sizes) + spare)
        experts = [operator for unit in delta_units(config, hw, 0) for operator in unit.choices
                   if operator.expert is EVERY]
        assert {operator.part for operator in experts} == parts
        layers = {operator.layer for operator in experts}
        assert len(layers) == hw.remembered_tokens // config.num_tokens


def test_layers_that_no_window_holds_together(seed: int) -> None:
    model, _, task = draw(NANO, kept, seed)
    config, both = model.config, feed_forward(model.config, 1)
    sums = [extent(operator, config, NANO).state_words for operator in both]
    hw = replace(NANO, name="tight", state_words=sum(sums) - 1)
    plan = Plan(Choice(Policy.DENSE), dict.fromkeys(both, Choice(DELTA)))
    with pytest.raises(ValueError, match=(rf"blocks\.1\.experts keeps {sum(sums)} state_words at "
                                          "a time, the hardware has .* left")):
        compile_program(model, hw, task, plan)


def test_more_tokens_than_are_remembered(seed: int) -> None:
    model, _, task = draw(NANO, kept, seed)
    config = replace(model.config, num_layers=99)
    with pytest.raises(ValueError, match=r"tokens' experts, the hardware has .* of 256 left"):
        Keeping(config, NANO, task, second(config, task, 0))
