"""Matrix product with bias, exact."""

import torch
from torch import Tensor


def linear(a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``acc[t, n] = sum_k a[t, k] * weight[n, k] + bias[n]``.

    Parameters
    ----------
    a : Tensor
        (..., T, K) integers of at most 9 signed bits.
    weight : Tensor
        (..., N, K) integers of at most 16 signed bits.
    bias : Tensor, optional
        (N,) integers, added to the accumulator before requantization.

    Returns
    -------
    Tensor
        (..., T, N) int64.
    """
    acc = a.to(torch.int64) @ weight.to(torch.int64).mT
    return acc if bias is None else acc + bias.to(torch.int64)
