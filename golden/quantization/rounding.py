"""Rounding of weights that makes up for what it loses, by the moments of the operands.

Rounded alone, each weight errs by up to half a code, and what reaches a sum is what the operands
make of these errors. Rows of a normalization are alike, so they make much of it: errors that point
along them add up in every token. Rounded one after the other, each weight that is still to come
takes on what the one before lost (GPTQ, Frantar et al., ICLR 2023); the bias, which is rounded
hardly at all, comes last and corrects the mean.
"""

import torch
from torch import Tensor

from deltamoe.golden.numerics import WEIGHT

OPERAND_NOISE = 1 / 12
"""Variance that rounding adds to an operand's code."""

BIAS_NOISE = 1e-6
"""Share that keeps the moments of a constant operand invertible."""

COLUMNS = 64
"""Columns that are rounded before the others are told."""


def operand_moments(moments: Tensor, scale: Tensor) -> Tensor:
    """Return the mean products of an operand's codes and a one, each with each: (K + 1, K + 1).

    Parameters
    ----------
    moments : Tensor
        (K + 1, K + 1) sums of products of the real operand, followed by a one.
    scale : Tensor
        (K,) what a code of each channel is worth.
    """
    units = torch.cat([scale, torch.ones(1, dtype=scale.dtype)])
    normalized = moments / (units[:, None] * units) / moments[-1, -1]
    noise = torch.full_like(units, OPERAND_NOISE)
    noise[-1] = BIAS_NOISE
    return normalized + torch.diag(noise)


def compensated(weight: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
    """Round weights one channel after the other, the strongest first.

    Parameters
    ----------
    weight : Tensor
        (N, K) in codes, not rounded yet.
    moments : Tensor
        (K + 1, K + 1) of :func:`operand_moments`.

    Returns
    -------
    codes : Tensor
        (N, K) int64, in the range of a weight.
    bias : Tensor
        (N,) what is to be added to the bias, in units of the accumulator.
    """
    count = weight.shape[1]
    order = moments.diagonal()[:count].argsort(descending=True, stable=True)
    places = torch.cat([order, torch.tensor([count])])
    spread = torch.linalg.cholesky(torch.linalg.inv(moments[places][:, places]), upper=True)
    left = torch.cat([weight[:, order], torch.zeros_like(weight[:, :1])], 1)     # (N, K + 1)
    codes = torch.zeros_like(weight)
    for first in range(0, count, COLUMNS):
        last = min(first + COLUMNS, count)
        lost = torch.zeros_like(weight[:, first:last])
        for column in range(first, last):
            rounded = left[:, column].round().clamp(WEIGHT.lowest, WEIGHT.highest)
            codes[:, order[column]] = rounded
            error = (left[:, column] - rounded) / spread[column, column]
            lost[:, column - first] = error
            left[:, column + 1 : last] -= error[:, None] * spread[column, column + 1 : last]
        left[:, last:] -= lost @ spread[first:last, last:]
    return codes.to(torch.int64), left[:, count]
