"""Dispatch, weighted sum and residual."""

from fractions import Fraction
from math import floor

import pytest
import torch

from deltamoe.golden.arithmetic.combine import contribution
from deltamoe.golden.arithmetic.moe import moe, routed_tokens
from deltamoe.golden.arithmetic.residual import residual_add


def run(x: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor, table: torch.Tensor
        ) -> tuple[torch.Tensor, dict[int, int]]:
    """Run with experts that return row ``token`` of ``table[expert]``; count their tokens."""
    calls: dict[int, int] = {}

    def expert(index: int, rows: torch.Tensor) -> torch.Tensor:
        calls[index] = len(rows)
        return table[index][rows[:, 0]]

    hidden = torch.arange(len(x))[:, None].expand(-1, x.shape[1])
    return moe(x, hidden, chosen, weights, expert), calls


def stimulus(seed: int, tokens: int, experts: int, top_k: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-20000, 20000, (tokens, 5), generator=generator)
    table = torch.randint(-(2**17), 2**17, (experts, tokens, 5), generator=generator)
    chosen = torch.stack([torch.randperm(experts, generator=generator)[:top_k]
                          for _ in range(tokens)])
    weights = torch.randint(0, 65536, (tokens, top_k), generator=generator)
    return x, chosen, weights, table


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("tokens", "experts", "top_k"), [(17, 4, 2), (33, 16, 4), (1, 3, 3)])
def test_equals_a_loop_over_tokens(tokens: int, experts: int, top_k: int, seed: int) -> None:
    x, chosen, weights, table = stimulus(seed, tokens, experts, top_k)
    got, calls = run(x, chosen, weights, table)
    clipped = 0
    for t in range(tokens):
        for d in range(5):
            total = int(x[t, d])
            for e, w in zip(chosen[t].tolist(), weights[t].tolist(), strict=True):
                total += floor(Fraction(int(table[e, t, d]) * w, 2**18) + Fraction(1, 2))
            clipped += not -32768 <= total <= 32767
            assert got[t, d] == max(-32768, min(32767, total))
    assert tokens == 1 or 0 < clipped < tokens * 5 / 2
    assert calls == {e: int((chosen == e).sum()) for e in chosen.unique().tolist()}


def test_all_tokens_may_choose_the_same_experts() -> None:
    x, _, weights, table = stimulus(0, 17, 4, 2)
    got, calls = run(x, torch.tensor([[3, 1]]).expand(17, 2), weights, table)
    assert calls == {1: 17, 3: 17}
    swapped, _ = run(x, torch.tensor([[1, 3]]).expand(17, 2), weights.flip(-1), table)
    assert torch.equal(got, swapped)


def test_the_sum_saturates_once() -> None:
    x = torch.tensor([[32000]])
    table = torch.tensor([[[524287]], [[-524288]]])
    weights = torch.tensor([[65535, 65535]])
    got, _ = run(x, torch.tensor([[0, 1]]), weights, table)
    assert got.item() == 32000 + 131070 - 131070


def test_contributions_round_half_up() -> None:
    halves = torch.tensor([-6, -2, 2, 6])
    assert contribution(halves, torch.tensor(1 << 16)).tolist() == [-1, 0, 1, 2]


def test_routed_tokens_keep_their_order() -> None:
    chosen = torch.tensor([[2, 0], [1, 2], [0, 1], [2, 1]])
    assert routed_tokens(chosen, 2).tolist() == [0, 1, 3]
    assert routed_tokens(chosen, 3).tolist() == []


def test_the_residual_saturates() -> None:
    x = torch.tensor([32767, -32768, 100])
    assert residual_add(x, torch.tensor([1, -1, 8_388_607])).tolist() == [32767, -32768, 32767]
    assert residual_add(x, torch.tensor([-7, 7, 5])).tolist() == [32760, -32761, 105]
