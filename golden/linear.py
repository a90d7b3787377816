"""Matrix product with bias, exact."""

import torch
from torch import Tensor


def linear(a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``acc[t, n] = sum_k a[t, k] * weight[n, k] + bias[n]``.

    Float64 multiplies and adds integers below ``2**53`` exactly, and faster than int64 does.

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
    acc = (a.to(torch.float64) @ weight.to(torch.float64).mT).to(torch.int64)
    return acc if bias is None else acc + bias.to(torch.int64)
