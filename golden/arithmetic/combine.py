"""Weighted sum of expert outputs."""

from torch import Tensor

from deltamoe.golden.arithmetic.requantize import round_shift
from deltamoe.golden.numerics import COMBINE_SHIFT


def contribution(expert_out: Tensor, weight: Tensor) -> Tensor:
    """One expert's share of a token: ``floor(expert_out * weight / 2**18 + 1/2)``.

    Each share is rounded alone and the sum saturates once, so the order of experts is free.

    Parameters
    ----------
    expert_out : Tensor
        int64 of 20 signed bits, four times as fine as the residual stream.
    weight : Tensor
        int64 in 0..65535, scale ``2**-16``, broadcast against ``expert_out``.

    Returns
    -------
    Tensor
        int64, codes of the residual stream.
    """
    return round_shift(expert_out * weight, COMBINE_SHIFT)
