"""Mixture of experts on int8 codes: dispatch, experts, combine."""

from collections.abc import Callable

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.combine import contribution
from deltamoe.golden.arithmetic.residual import residual_add


def routed_tokens(experts: Tensor, expert: int) -> Tensor:
    """Tokens that chose ``expert``, ascending; ``experts`` is (T, K)."""
    return (experts == expert).any(-1).nonzero().flatten()


def moe(
    x: Tensor,
    hidden: Tensor,
    experts: Tensor,
    weights: Tensor,
    expert: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """Add every token's weighted expert outputs to the residual stream, saturating once.

    Any routing works: an expert without tokens is not called, one may get them all.

    Parameters
    ----------
    x : Tensor
        (T, D) int64, residual stream.
    hidden : Tensor
        (T, D) int64, operands of the experts.
    experts, weights : Tensor
        (T, K) int64 of :func:`deltamoe.golden.arithmetic.gate.gate`; a token's experts differ.
    expert : callable
        Maps an expert's index and its (N, D) operands to (N, D) outputs of 20 bits.

    Returns
    -------
    Tensor
        (T, D) int64 in the range of int16.
    """
    y = torch.zeros_like(x)
    for index in experts.unique().tolist():
        tokens = routed_tokens(experts, index)
        weight = weights[experts == index]  # one per routed token, in token order
        y[tokens] += contribution(expert(index, hidden[tokens]), weight[:, None])
    return residual_add(x, y)
