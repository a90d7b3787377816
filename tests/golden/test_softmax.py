"""Softmax against real arithmetic on the same integer logits."""

import pytest
import torch

from deltamoe.golden.arithmetic.softmax import normalizer, softmax


def logits(seed: int, rows: int, keys: int) -> torch.Tensor:
    """Diffuse and peaked rows, as trained networks have them, in units of 1/64 octave."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.rand(rows, 1, generator=generator) * 250 + 20
    return (torch.randn(rows, keys, generator=generator) * spread).round().to(torch.int64)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keys", [17, 129, 197])
def test_probabilities_are_within_tolerance(keys: int, seed: int) -> None:
    t = logits(seed, 300, keys)
    e, total = softmax(t)
    assert torch.equal(total, e.sum(-1))
    assert (e.amax(-1) == 255).all()
    real = (t.double() / 64 * torch.log(torch.tensor(2.0, dtype=torch.float64))).softmax(-1)
    error = (e / total[:, None] - real).abs()
    assert ((e > 0) & (e < 255)).float().mean() > 0.2, "hardly any key between the extremes"
    # Limits of numerics: largest 0.06, a row's sum 0.15, mean of sums 0.03.
    assert error.max() <= 0.06
    assert error.sum(-1).max() <= 0.15
    assert error.sum(-1).mean() <= 0.03


def test_every_distance_is_within_three_quarters_of_a_code() -> None:
    distance = torch.arange(64 * 16)
    e, _ = softmax(torch.cat((torch.tensor([32767]), 32767 - distance)))
    real = 256 * 2.0 ** (-distance.double() / 64)
    assert ((e[1:] - real).abs()[1:] <= 0.76).all()
    assert e[1] == 255
    assert e[1 + 64 * 8] == 1
    assert (e[1 + 64 * 9:] == 0).all()


def test_the_extremes_of_int16_do_not_wrap() -> None:
    e, total = softmax(torch.tensor([[-32768, 32767], [-32768, -32768]], dtype=torch.int16))
    assert e.tolist() == [[0, 255], [255, 255]]
    assert total.tolist() == [255, 510]


def test_the_order_of_keys_is_free() -> None:
    t = logits(7, 20, 129)
    order = torch.randperm(129, generator=torch.Generator().manual_seed(1))
    e, total = softmax(t)
    shuffled, shuffled_total = softmax(t[:, order])
    assert torch.equal(e[:, order], shuffled)
    assert torch.equal(total, shuffled_total)


def test_the_normalizer_is_the_rounded_quotient() -> None:
    kappa = 1.37
    kappa22, kappa26 = round(kappa * 2**22), round(kappa * 2**26)
    total = torch.arange(255, 50_000)
    multiplier, shift = normalizer(total, kappa22, kappa26)
    assert shift[total == 4095].item() == 22
    assert shift[total == 4096].item() == 26
    exact = kappa * 2.0 ** shift.double() / total
    assert ((multiplier - exact).abs() <= 0.5 + 1e-2).all()
    assert (multiplier > 1000).all()


def test_the_normalizer_rounds_ties_up_and_saturates() -> None:
    multiplier, _ = normalizer(torch.tensor([256, 255]), 256 * 40 + 128, 0)
    assert multiplier.tolist() == [41, 41]
    multiplier, _ = normalizer(torch.tensor([255]), 1 << 26, 0)
    assert multiplier.tolist() == [65535]
