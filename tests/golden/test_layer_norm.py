"""LayerNorm against real arithmetic on the same integers."""

import math

import pytest
import torch

from deltamoe.golden.arithmetic.layer_norm import layer_norm, reciprocal_root

GAIN_SHIFT = 9


def parameters(dim: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, int]:
    gain = torch.randint(-40 << GAIN_SHIFT, 40 << GAIN_SHIFT, (dim,), generator=generator)
    bias = torch.randint(-30, 31, (dim,), generator=generator) << (GAIN_SHIFT + 12)
    return gain, bias, max(1, round(dim * dim * 1e-6 * 2**16))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dim", [32, 192, 384])
@pytest.mark.parametrize("spread", [3, 300, 8000])
def test_is_within_one_code_of_real_arithmetic(spread: int, dim: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randint(-4000, 4000, (200, 1), generator=generator)
    x = mean + (torch.randn(200, dim, generator=generator) * spread).round().to(torch.int64)
    x = x.clamp(-32768, 32767)
    gain, bias, epsilon = parameters(dim, generator)
    got = layer_norm(x, gain, bias, GAIN_SHIFT, epsilon)
    normed = torch.nn.functional.layer_norm(x.double() / 256, (dim,), eps=1e-6)
    real = normed * gain / 2**GAIN_SHIFT + bias / 2.0 ** (GAIN_SHIFT + 12)
    wanted = (real + 0.5).floor().clamp(-128, 127)
    assert (wanted.abs() < 127).double().mean() > 0.8, "stimulus hardly leaves saturation"
    assert (got - wanted).abs().max() <= 1
    assert (got != wanted).double().mean() <= 0.01


def test_saturates_and_survives_the_extremes_of_the_residual() -> None:
    dim = 192
    x = torch.full((3, dim), -32768)
    x[0, ::2] = 32767
    x[1, 0] = 32767
    gain, bias = torch.full((dim,), 20 << GAIN_SHIFT), torch.zeros(dim, dtype=torch.int64)
    out = layer_norm(x, gain, bias, GAIN_SHIFT, 2416)
    assert out[0].tolist() == [20, -20] * (dim // 2)
    assert out[1, 0] == 127
    assert out[1].min() == -1
    assert out[2].tolist() == [0] * dim, "a constant row normalizes to its bias"


@pytest.mark.parametrize("bit", range(62))
def test_root_is_exact_to_its_bits_at_every_power_of_two(bit: int) -> None:
    for value in {max(1, (1 << bit) - 1), 1 << bit, (1 << bit) + (1 << bit >> 1)}:
        root, half_exponent = reciprocal_root(torch.tensor([value]))
        got = root.item() * 2.0 ** -(16 + half_exponent.item())
        # Truncated Newton products and 16 result bits: 2**-13 measured in a 16-bit root.
        assert got == pytest.approx(1 / math.sqrt(value), rel=2**-12)
        assert root.item() < 1 << 16


def root_by_the_book(variance: int) -> tuple[int, int]:
    """The specification's steps in Python integers, with its table by its formula."""
    exponent = (variance.bit_length() - 1) & ~1
    v = variance << (30 - exponent) if exponent < 30 else variance >> (exponent - 30)
    y = min(65535, round(2**16 / math.sqrt(((v >> 25) + 0.5) / 32)))
    a = ((v >> 14) * y) >> 16
    a = (a * y) >> 16
    return min(65535, (y * ((3 << 16) - a) + 2**16) >> 17), exponent // 2


def test_root_follows_the_specification_bit_by_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    exponents = torch.rand(4000, generator=generator, dtype=torch.float64) * 61
    values = (2.0**exponents).to(torch.int64)
    root, half_exponent = reciprocal_root(values)
    expected = [root_by_the_book(value) for value in values.tolist()]
    assert list(zip(root.tolist(), half_exponent.tolist(), strict=True)) == expected


def test_the_output_rounds_half_up() -> None:
    # A constant row gives z = 0, so the output is the bias alone: +-0.5 and +-1.5 codes.
    half = 1 << (GAIN_SHIFT + 11)
    bias = torch.tensor([half, -half, 3 * half, -3 * half])
    out = layer_norm(torch.zeros(1, 4), torch.ones(4), bias, GAIN_SHIFT, 1)
    assert out.tolist() == [[1, 0, 2, -1]]
