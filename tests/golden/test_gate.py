"""Expert choice and weights."""

from fractions import Fraction
from math import floor

import pytest
import torch

from deltamoe.golden.arithmetic.gate import exponential, gate, gate_weights, planes, top_k_experts


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("experts", "top_k"), [(4, 2), (16, 2), (16, 4)])
def test_weights_are_the_softmax_over_all_experts(experts: int, top_k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    acc = torch.randint(-(2**24), 2**24, (400, experts), generator=generator)
    multiplier, shift = 5000, 26  # +-2**24 becomes +-4.9 octaves
    chosen, weights = gate(acc, multiplier, shift, top_k)
    octaves = acc.double() * multiplier / 2.0 ** (shift + 8)
    real = (octaves * torch.log(torch.tensor(2.0, dtype=torch.float64))).softmax(-1)
    assert weights.double().std() > 2000, "all weights alike"
    # The temperature is quantized to 1/256 octave, hence the tolerance of numerics: 1e-3.
    assert (weights / 65536 - real.gather(-1, chosen)).abs().max() <= 1e-3
    assert (weights.sum(-1) < 65536 + top_k).all()


def test_ties_go_to_the_lower_index_and_order_is_descending() -> None:
    acc = torch.tensor([[5, 9, 9, 5], [7, 7, 7, 7], [1, 2, 3, 4], [-1, -5, -1, -1]])
    assert top_k_experts(acc, 3).tolist() == [[1, 2, 0], [0, 1, 2], [3, 2, 1], [0, 2, 3]]
    # PyTorch sorts short rows stably in any case.
    assert top_k_experts(torch.arange(4096)[None] % 2, 3).tolist() == [[1, 3, 5]]


def test_the_choice_uses_raw_accumulators() -> None:
    # Both round to the same temperature; only the accumulators tell them apart.
    acc = torch.tensor([[1000, 1001, 0]])
    chosen, weights = gate(acc, 1, 14, 2)
    assert chosen.tolist() == [[1, 0]]
    assert weights[0, 0] == weights[0, 1]


def test_all_equal_gives_rounded_equal_shares() -> None:
    _, weights = gate(torch.zeros(1, 3, dtype=torch.int64), 1, 14, 3)
    assert weights.tolist() == [[21845, 21845, 21845]]  # 65536 / 3 = 21845.33


def test_a_lone_winner_saturates_at_sixteen_bits() -> None:
    acc = torch.tensor([[2**32 - 1, -(2**32), -(2**32)]])
    assert gate(acc, 65535, 14, 2)[1].tolist() == [[65535, 0]]


def test_weights_follow_forced_experts() -> None:
    acc = torch.tensor([[4000, -300, 250, 90]])
    chosen, weights = gate(acc, 60000, 18, 4)
    forced = torch.tensor([[3, 0]])
    expected = [weights[0][chosen[0] == expert].item() for expert in (3, 0)]
    assert gate_weights(acc, 60000, 18, forced).tolist() == [expected]


def test_exponential_is_within_three_quarters_of_a_code() -> None:
    distance = torch.arange(1, 256 * 20)
    real = 32768 * 2.0 ** (-distance.double() / 256)
    e = exponential(distance)
    assert ((e - real).abs() <= 0.76).all()
    assert e[256 * 15 - 1] == 1
    assert e[256 * 17 - 1] == 0


def test_weights_are_the_rounded_quotients_of_the_exponentials() -> None:
    acc = torch.randint(-800, 800, (200, 5), generator=torch.Generator().manual_seed(9))
    chosen, weights = gate(acc, 1 << 14, 14, 5)
    up = 0
    for row, experts, got in zip(acc.tolist(), chosen.tolist(), weights.tolist(), strict=True):
        e = exponential(max(row) - torch.tensor(row)).tolist()
        exact = [Fraction(e[expert] << 16, sum(e)) for expert in experts]
        assert got == [min(65535, floor(value + Fraction(1, 2))) for value in exact]
        up += sum(value != floor(value) and floor(value + Fraction(1, 2)) > value
                  for value in exact)
    assert 300 < up < 700


def test_planes_are_bytes_whose_sum_is_the_weight() -> None:
    weight = torch.arange(-32768, 32640).view(2, -1)
    split = planes(weight)
    assert split.shape == (4, 32704)
    assert split.min() == -128
    assert split.max() == 127
    assert torch.equal(256 * split[0::2] + split[1::2], weight)
