"""Networks that the memories of the hardware do not hold at once: in tiles, parts and turns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards.verilator import engine
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.integer import infer
from deltamoe.golden.model import build
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import check_network, compile_program
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.compiler.tiles import context_base, expert_turns, image_tiles, mlp_tiles, tiles
from deltamoe.rtl.program import Attention, Linear
from deltamoe.sim.memory import MemoryModel
from tests.support.cases import TOGETHER
from tests.support.sequence import run_exactly
from tests.system.networks import NANO

HARDWARE = {
    "tiled": replace(NANO, name="tiled", act_words=224, kv_rows=64, max_depth=48, queue_words=12,
                     queued_tokens=16, normed_words=208, residual_words=212),
    "parts": replace(TOGETHER, name="parts", act_words=128, kv_rows=48, max_depth=64,
                     queue_words=8, acc_width=28),
}
"""Small memories, so that every way out of them is taken."""

PLAIN = ModelConfig(
    name="plain", image_channels=3, image_height=20, image_width=20, patch_size=4, embed_dim=32,
    num_layers=2, num_heads=2, hidden_dim=64, num_classes=(5,))
EXPERTS = ModelConfig(
    name="experts", image_channels=1, image_height=12, image_width=9, patch_size=3, embed_dim=32,
    num_layers=2, num_heads=1, hidden_dim=96, num_experts=3, top_k=2, expert_dim=48,
    num_classes=(4,))
WIDE = replace(PLAIN, name="wide", image_width=16, embed_dim=48, num_heads=3, hidden_dim=136)

CASES = [("tiled", PLAIN), ("tiled", EXPERTS), ("parts", PLAIN), ("parts", WIDE)]


def made(config: ModelConfig, seed: int) -> tuple[QuantizedModel, list[torch.Tensor]]:
    """Return a quantized network and two images."""
    shape = (config.image_channels, config.image_height, config.image_width)
    images = torch.from_numpy(np.random.default_rng(seed).integers(
        0, 256, (4, *shape)).astype(np.uint8))
    return quantize(build(config, seeded(config, seed)), images[2:]), list(images[:2])


@pytest.mark.verilator
@pytest.mark.parametrize("policy", [Policy.DENSE, Policy.ZERO_SKIP])
@pytest.mark.parametrize(("hardware", "config"), CASES,
                         ids=[f"{hardware}-{config.name}" for hardware, config in CASES])
def test_bits_and_counters(hardware: str, config: ModelConfig, policy: Policy, seed: int) -> None:
    hw = HARDWARE[hardware]
    model, images = made(config, seed)
    plan, memory = Plan(Choice(policy)), MemoryModel(20, 2)
    program = compile_program(model, hw, plan=plan, frames=2)
    traces = [infer(model, image, 0) for image in images]
    assert all(trace.x.unique().numel() > 10 for trace in traces), "an output is nearly constant"
    result = run_exactly(program, images, traces, memory=memory)

    stalled = engine.run(program, program.with_image(*(image.numpy() for image in images)),
                         latency=memory.latency, interval=memory.interval, stall_seed=seed + 1)
    np.testing.assert_array_equal(stalled.memory, result.memory)


def test_every_way_out_is_taken(seed: int) -> None:
    """The cases above have tiles, parts of sums, shared places, and turns of one expert."""
    hw = HARDWARE["tiled"]
    assert len(image_tiles(PLAIN, hw)) == 3
    assert context_base(PLAIN, hw) == 0 < context_base(EXPERTS, hw)
    assert expert_turns(EXPERTS, hw) == 1
    for hardware, config in CASES:
        program = compile_program(made(config, seed)[0], HARDWARE[hardware])
        layers = [one for one in program.descriptors if isinstance(one, Linear)]
        heads = [one for one in program.descriptors if isinstance(one, Attention)]
        assert len(mlp_tiles(config, HARDWARE[hardware])) > 1
        assert all(one.spread + one.head_split for one in heads)
        assert any(one.adds for one in layers) == (config.hidden_dim > HARDWARE[hardware].max_depth)
    assert any(one.spread != one.value_spread for one in heads)


@pytest.mark.parametrize(("total", "most", "step", "expected"), [
    (10, 10, 1, [10]), (10, 9, 1, [5, 5]), (11, 5, 1, [4, 4, 3]), (25, 9, 2, [8, 8, 8, 1]),
    (96, 50, 32, [32, 32, 32])])
def test_tiles_are_few_and_nearly_equal(total: int, most: int, step: int,
                                        expected: list[int]) -> None:
    found = tiles(total, most, step)
    assert [place for tile in found for place in tile] == list(range(total))
    assert [len(tile) for tile in found] == expected


def test_what_comes_in_tiles_keeps_nothing(seed: int) -> None:
    """A policy by name leaves it dense; a plan that asks for more is refused by its name."""
    hw, (model, _) = HARDWARE["tiled"], made(PLAIN, seed)
    plan = named(Policy.DELTA, PLAIN, hw)
    assert compile_program(model, hw, plan=plan)
    fc1 = Operator(Part.FC1, 0)
    assert plan.operators
    assert fc1 not in plan.operators
    with pytest.raises(ValueError, match=r"^blocks.0.fc1: tiled computes it in parts, and executes "
                                         "only dense and zero-skip of these, not delta$"):
        compile_program(model, hw, plan=Plan(Choice(Policy.DENSE), {fc1: Choice(Policy.DELTA)}))


@pytest.mark.parametrize(("changes", "message"), [
    ({"normed_words": 200}, "normalized words=208 exceeds tiled's maximum 200; with 25 tokens"),
    ({"residual_words": 200}, "residual words=210 exceeds tiled's maximum 200; with 24 tokens"),
    ({"act_words": 200}, "activation words=208 exceeds tiled's maximum 200; with 25 tokens"),
    ({"max_tokens": 16}, "num_tokens=26 exceeds tiled's maximum 16; with 16 tokens"),
    ({"kv_rows": 32}, ("keys and values of 2 heads and 26 tokens need 58 kv_rows, the hardware has "
                       "32; with 16 tokens")),
    ({"max_embed": 16}, "embed_dim=32 exceeds tiled's maximum 16")])
def test_what_does_not_fit_is_named_with_the_tokens_that_would(changes: dict, message: str,
                                                               ) -> None:
    hw, end = replace(HARDWARE["tiled"], **changes), " it would fit" * ("with" in message)
    with pytest.raises(ValueError, match=f"^plain: {message}{end}$"):
        check_network(PLAIN, hw, 0)
