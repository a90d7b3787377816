"""One key more than whole tiles, beside the groups: no bit differs, no counter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards.verilator import engine
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.integer import infer
from deltamoe.golden.model import build
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.program import Attention
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from tests.support.sequence import run_exactly
from tests.system.networks import NANO

ONE = replace(NANO, name="one", last_key=True)
HARDWARE = {
    "one": ONE,
    "narrow": replace(ONE, name="narrow", kv_rows=46),   # heads spread and split over the groups
    "wide": replace(ONE, name="wide", lanes=16, groups=6, packed=True, attention_lag=7, banks=2,
                    outstanding=4, acc_width=28, block_queues=True),
}
TOKENS = (9, 16, 17, 18, 25)
"""2**n, 2**n + 1 and 2**n + 2; tiles have 8 or 16 keys."""


def config_of(tokens: int, heads: int, head_dim: int = 8) -> ModelConfig:
    """Return a small network of so many tokens."""
    return ModelConfig(
        name=f"keys-{tokens}-{heads}", image_channels=2, image_height=2,
        image_width=2 * (tokens - 1), patch_size=2, embed_dim=heads * head_dim, num_layers=2,
        num_heads=heads, hidden_dim=32, num_experts=3, top_k=2, expert_dim=16)


def made(config: ModelConfig, seed: int) -> tuple[QuantizedModel, list[torch.Tensor]]:
    """Return a quantized network and some images."""
    shape = (config.image_channels, config.image_height, config.image_width)
    images = torch.from_numpy(np.random.default_rng(seed).integers(
        0, 256, (6, *shape)).astype(np.uint8))
    return quantize(build(config, seeded(config, seed)), images[3:]), list(images[:3])


def attentions(program) -> list[Attention]:
    """Return the descriptors of attention."""
    return [one for one in program.descriptors if isinstance(one, Attention)]


@pytest.mark.verilator
@pytest.mark.parametrize("policy", [Policy.DENSE, Policy.ZERO_SKIP])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("hardware", HARDWARE)
def test_bits_and_counters(hardware: str, tokens: int, policy: Policy, seed: int) -> None:
    hw, heads = HARDWARE[hardware], 1 + (tokens + seed) % 3
    model, images = made(config_of(tokens, heads, 16 if heads == 1 else 8), seed + tokens)
    plan, memory = Plan(Choice(policy)), MemoryModel(20, 2)
    program = compile_program(model, hw, plan=plan, frames=2)
    traces = [infer(model, image, 0) for image in images[:2]]
    assert all(trace.x.unique().numel() > 10 for trace in traces), "an output is nearly constant"
    result = run_exactly(program, images[:2], traces, memory=memory)
    for one in attentions(program):
        assert one.last_key == (tokens % (hw.lanes << one.spread) == 1)

    stalled = engine.run(program, program.with_image(*(image.numpy() for image in images[:2])),
                         latency=memory.latency, interval=memory.interval, stall_seed=seed + 1)
    np.testing.assert_array_equal(stalled.memory, result.memory)


@pytest.mark.verilator
@pytest.mark.parametrize("policy", ["delta", "token-gate"])
def test_frames_that_keep_something(policy: str, seed: int) -> None:
    """The key is that of this frame, whatever of its layer was computed again."""
    model, (image, *_) = made(config_of(17, 2), seed)
    plan = named(policy, model.config, ONE)
    frames = [image, image, image.clone()]
    frames[2][..., -3:] = 255 - frames[2][..., -3:]
    reference = Temporal(model, plan)
    traces = [reference.run(frame, 0) for frame in frames]
    program = compile_program(model, ONE, plan=plan, frames=3)
    assert all(one.last_key for one in attentions(program))
    run_exactly(program, frames, traces, plan)


@pytest.mark.parametrize("tokens", TOKENS)
def test_the_old_way_computes_the_same(tokens: int, seed: int) -> None:
    """As many multiplications, in fewer cycles of the groups where a tile is saved."""
    model, (image, *_) = made(config_of(tokens, 2), seed)
    facts = from_trace(infer(model, image, 0), model.config)
    new, old = (simulate(compile_program(model, replace(ONE, last_key=last_key)), facts)
                for last_key in (True, False))
    assert new.counters["macs"] == old.counters["macs"]
    saved = old.counters["worker_busy"] - new.counters["worker_busy"]
    alone = tokens % ONE.lanes == 1
    assert saved == alone * model.config.num_layers * tokens * model.config.embed_dim
    assert new.cycles <= old.cycles
