"""Activation function as a table; the quantizer fills it."""

import torch
from torch import Tensor

from deltamoe.golden.numerics import TABLE


def gelu(q: Tensor, table: Tensor) -> Tensor:
    """Look ``q`` up: ``table[q & 1023]``, so negative ``q`` use the upper half.

    Parameters
    ----------
    q : Tensor
        int64 in -512..511.
    table : Tensor
        (1024,) uint8. ``table[0]`` is the code of zero.

    Returns
    -------
    Tensor
        int64 in 0..255, shaped as ``q``.
    """
    return table.to(torch.int64)[q & (TABLE - 1)]
