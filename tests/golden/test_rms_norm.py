"""RMSNorm against real arithmetic on the same integers, and the network that has it."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from deltamoe.golden.arithmetic.rms_norm import rms_norm
from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import infer
from deltamoe.golden.model import build, expected_shapes
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.report import block_noise
from deltamoe.golden.seeded import seeded

GAIN_SHIFT = 9
CONFIG = replace(MODELS["digits"], norm="rms")
IMAGE = torch.arange(64, dtype=torch.uint8).view(1, 8, 8) * 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dim", [32, 192, 384])
@pytest.mark.parametrize("spread", [3, 300, 8000])
def test_is_within_one_code_of_real_arithmetic(spread: int, dim: int, seed: int) -> None:
    """The mean stays: rows far from 0 keep their sign, and little of their shape."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randint(-4000, 4000, (200, 1), generator=generator)
    x = mean + (torch.randn(200, dim, generator=generator) * spread).round().to(torch.int64)
    x = x.clamp(-32768, 32767)
    gain = torch.randint(-40 << GAIN_SHIFT, 40 << GAIN_SHIFT, (dim,), generator=generator)
    got = rms_norm(x, gain, GAIN_SHIFT, max(1, round(dim * dim * 1e-6 * 2**16)))
    normed = functional.rms_norm(x.double() / 256, (dim,), eps=1e-6)
    wanted = (normed * gain / 2**GAIN_SHIFT + 0.5).floor().clamp(-128, 127)
    assert (wanted.abs() < 127).double().mean() > 0.8, "stimulus hardly leaves saturation"
    assert (got - wanted).abs().max() <= 1
    # A row far from 0 is nearly one value, so its codes are all near a tie or none is.
    assert (got != wanted).double().mean() <= 0.03


def test_saturates_and_survives_the_extremes_of_the_residual() -> None:
    dim = 192
    x = torch.full((4, dim), -32768)
    x[0, ::2] = 32767
    x[1] = 0
    x[1, 0] = 32767
    x[3] = 0
    out = rms_norm(x, torch.full((dim,), 20 << GAIN_SHIFT), GAIN_SHIFT, 2416)
    assert out[0].tolist() == [20, -20] * (dim // 2)
    assert out[1].tolist() == [127] + [0] * (dim - 1)
    assert out[2].tolist() == [-20] * dim, "a constant row normalizes to its sign"
    assert out[3].tolist() == [0] * dim


def test_the_output_rounds_half_up() -> None:
    """All of a row are one or minus one times the root mean square, 4096 in 12 fraction bits."""
    x = torch.tensor([[256, -256, 256, -256]])
    half = 1 << (GAIN_SHIFT - 1)
    out = rms_norm(x, torch.tensor([half, half, 3 * half, 3 * half]), GAIN_SHIFT, 1)
    assert out.tolist() == [[1, 0, 2, -1]]


def test_the_network_follows_the_real_one_and_has_no_bias() -> None:
    real = build(CONFIG, seeded(CONFIG, 0))
    assert "norm.bias" not in expected_shapes(CONFIG)
    quantized = quantize(real, [IMAGE])
    for name in ("norm", "blocks.0.norm1", "blocks.3.norm2"):
        assert not quantized[f"{name}.bias"].any()
    assert min(noise.own for noise in block_noise(real, quantized, IMAGE)) > 25
    other = replace(quantized, config=MODELS["digits"])
    assert not torch.equal(infer(other, IMAGE).x, infer(quantized, IMAGE).x)


def test_another_normalization_is_named() -> None:
    with pytest.raises(ValueError, match=r"^norm='batch' is not one of layer, rms$"):
        replace(CONFIG, norm="batch")
