"""Requantization against exact fractions."""

from fractions import Fraction
from math import floor

import pytest
import torch

from deltamoe.golden.arithmetic.requantize import requantize, round_shift, saturate
from deltamoe.golden.numerics import ACTIVATION, WEIGHT, Result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("width", [8, 10, 16, 20, 24])
@pytest.mark.parametrize("shift", [14, 18, 22, 26])
def test_equals_the_exact_fraction_rounded_half_up(shift: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    limit = 1 << (width - 1)
    multiplier = torch.randint(1, 65536, (500,), generator=generator)
    wanted = (torch.rand(500, generator=generator, dtype=torch.float64) - 0.5) * 3 * limit
    acc = (wanted * 2.0**shift / multiplier).to(torch.int64)
    multiplier[:20] = 1 << 13  # exact halves for shift 14: acc * 2**13 / 2**14
    acc[:20] = (2 * torch.randint(-limit // 2, limit // 2, (20,), generator=generator) + 1) << (
        shift - 14)
    got = requantize(acc, multiplier, shift, Result(width))
    exact = [Fraction(a * m, 1 << shift) for a, m in
             zip(acc.tolist(), multiplier.tolist(), strict=True)]
    assert all(value.denominator == 2 for value in exact[:20]), "no ties"
    assert any(value < 0 for value in exact[:20]), "no negative ties"
    clipped = sum(not -limit <= value < limit for value in exact)
    assert 50 < clipped < 350, "the saturated and the free regime are both needed"
    assert got.tolist() == [min(limit - 1, max(-limit, floor(value + Fraction(1, 2))))
                            for value in exact]


def test_halves_round_up_on_both_sides_of_zero() -> None:
    halves = torch.tensor([-6, -2, 2, 6])  # -1.5, -0.5, 0.5, 1.5
    assert round_shift(halves, 2).tolist() == [-1, 0, 1, 2]
    assert round_shift(halves, 0).tolist() == halves.tolist()


def test_saturation_ends_at_the_range() -> None:
    values = torch.tensor([-(1 << 40), -129, -128, 127, 128, 1 << 40])
    assert saturate(values, ACTIVATION).tolist() == [-128, -128, -128, 127, 127, 127]
    assert saturate(values, WEIGHT).tolist() == [-127, -127, -127, 127, 127, 127]
