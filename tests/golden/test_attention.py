"""Attention on int8 codes against real arithmetic and loops."""

import math

import pytest
import torch

from deltamoe.golden.arithmetic.attention import attention


def operands(seed: int, tokens: int, dim: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(tokens, dim, generator=generator) * 45).round().clamp(-127, 127)
            .to(torch.int64) for _ in range(3)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tokens", "heads", "dim"), [(17, 2, 32), (129, 3, 192)])
def test_matches_real_attention(tokens: int, heads: int, dim: int, seed: int) -> None:
    q, k, v = operands(seed, tokens, dim)
    scale = [2.0**-12, 2.0**-13, 2.0**-11][:heads]  # natural logits per product of codes
    shift, kappa = 22, 2.0
    multiplier = torch.tensor([round(s * math.log2(math.e) * 64 * 2**shift) for s in scale])
    multiplier, shift = multiplier >> 4, shift - 4
    out, e = attention(q, k, v, multiplier, shift, int(kappa * 2**22), int(kappa * 2**26))
    assert e.shape == (heads, tokens, tokens)
    for head in range(heads):
        part = slice(head * dim // heads, (head + 1) * dim // heads)
        logits = q[:, part].double() @ k[:, part].double().T * scale[head]
        real = (kappa * logits.softmax(-1) @ v[:, part].double()).clamp(-128, 127)
        error = (out[:, part] - real).double()
        noise = 10 * torch.log10(real.square().sum() / error.square().sum())
        assert (real.abs() < 127).double().mean() > 0.9, "stimulus hardly leaves saturation"
        # Rounding to int8 alone leaves about 28 dB on outputs this small.
        assert noise > 22


def test_one_matching_key_returns_its_value() -> None:
    q = torch.eye(4, dtype=torch.int64) * 100
    v = torch.arange(-8, 8).view(4, 4) * 10
    out, e = attention(q, q, v, torch.tensor([65535]), 14, 1 << 22, 1 << 26)
    assert torch.equal(e[0], torch.eye(4, dtype=torch.int64) * 255)
    assert torch.equal(out, v)
