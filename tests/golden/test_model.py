"""The floating-point network against PyTorch's own layers and loops over tokens."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from deltamoe.golden.config import MODELS
from deltamoe.golden.model import Site, build, patchify
from deltamoe.golden.seeded import seeded

CONFIG = replace(MODELS["digits"], image_channels=3, image_width=12, num_experts=6, top_k=3)


def network(seed: int = 0):
    return build(CONFIG, seeded(CONFIG, seed)).requires_grad_(False)


def image(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, 8, 12), generator=torch.Generator().manual_seed(seed)).float()


def test_patches_are_those_of_the_convolution() -> None:
    proj = network().patch_embed["proj"]
    expected = proj(image()[None]).flatten(2).mT[0]
    got = patchify(image(), 2) @ proj.weight.flatten(1).T + proj.bias
    assert torch.allclose(got, expected, atol=1e-3)


def test_tokens_are_the_class_token_then_patches_with_positions() -> None:
    model, seen = network(), {}
    model(image(), 0, seen.__setitem__)
    patches = model.patch_embed["proj"](image()[None] / 256).flatten(2).mT[0]
    expected = torch.cat([model.cls_token[0], patches]) + model.pos_embed[0]
    assert torch.allclose(seen[Site("in")], expected, atol=1e-4)


def test_attention_is_pytorchs() -> None:
    attn = network().blocks[0].attn
    reference = torch.nn.MultiheadAttention(32, CONFIG.num_heads, batch_first=True)
    reference.load_state_dict({
        "in_proj_weight": attn.qkv.weight, "in_proj_bias": attn.qkv.bias,
        "out_proj.weight": attn.proj.weight, "out_proj.bias": attn.proj.bias})
    h = torch.randn(2, 25, 32, generator=torch.Generator().manual_seed(1))
    expected = reference(h, h, h)[0]
    assert torch.allclose(attn(h, lambda *_: None), expected, atol=1e-5)


@pytest.mark.parametrize("task", [0, 1])
def test_experts_equal_a_loop_over_tokens(task: int) -> None:
    moe = network().blocks[1].mlp
    h = torch.randn(25, 32, generator=torch.Generator().manual_seed(2))
    got = moe(h, task, lambda *_: None)
    first, second = moe.experts["htoh4"], moe.experts["h4toh"]
    used = set()
    for t, row in enumerate(h):
        probabilities = (row @ moe.gate[task].w_gate).softmax(0)
        chosen = sorted(range(6), key=lambda e: (-float(probabilities[e]), e))[:3]
        used |= set(chosen)
        expected = sum(
            probabilities[e] * (second.weight[e] @ functional.gelu(
                first.weight[e] @ row + first.bias[e]) + second.bias[e]) for e in chosen)
        assert torch.allclose(got[t], expected, atol=1e-5)
        assert float(probabilities[chosen].sum()) < 1 - 1e-4, "weights must not be renormalized"
    assert len(used) > 3


def test_ties_go_to_the_lower_expert() -> None:
    moe = network().blocks[1].mlp
    moe.gate[0].w_gate.zero_()
    h = torch.randn(4, 32, generator=torch.Generator().manual_seed(3))
    low = torch.tensor([[0, 1, 2]]).expand(4, 3)
    assert torch.equal(moe(h, 0, lambda *_: None), moe(h, 0, lambda *_: None, low))
    high = torch.tensor([[3, 4, 5]]).expand(4, 3)
    assert not torch.allclose(moe(h, 0, lambda *_: None), moe(h, 0, lambda *_: None, high))


def test_routing_can_be_forced_and_tasks_differ() -> None:
    model = network()
    free, _ = model(image(), 0)
    forced = {layer: torch.tensor([[0, 1, 2]]).expand(25, 3) for layer in (1, 3)}
    assert not torch.allclose(model(image(), 0, experts=forced)[0], free)
    assert not torch.allclose(model(image(), 1)[0], free)


def test_a_batch_is_its_images() -> None:
    model = network()
    batch = torch.stack([image(n) for n in range(3)])
    tokens, scores = model(batch, 1)
    for n in range(3):
        one, one_scores = model(batch[n], 1)
        assert one.shape == (25, 32)
        assert torch.allclose(tokens[n], one, atol=1e-4)
        assert torch.allclose(scores[n], one_scores, atol=1e-4)


def test_every_token_normalizes_before_attention_and_before_the_mlp() -> None:
    block = network().blocks[0]
    x = torch.randn(25, 32, generator=torch.Generator().manual_seed(4)) * 3 + 1
    normed = functional.layer_norm(x, (32,), block.norm1.weight, block.norm1.bias, 1e-6)
    y = x + block.attn(normed, lambda *_: None)
    normed = functional.layer_norm(y, (32,), block.norm2.weight, block.norm2.bias, 1e-6)
    mlp = block.mlp
    expected = y + mlp.fc2(functional.gelu(mlp.fc1(normed), approximate="none"))
    assert torch.allclose(block(x, 0, lambda *_: None), expected, atol=1e-5)
