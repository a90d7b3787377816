"""Multi-head self-attention on int8 codes."""

from typing import NamedTuple

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.arithmetic.softmax import normalizer, softmax
from deltamoe.golden.numerics import ACTIVATION, SCORE


class Attention(NamedTuple):
    """Result and operands of one attention.

    Attributes
    ----------
    out : Tensor
        (..., T, D) int64 in -128..127.
    e : Tensor
        (..., H, T, T) int64 in 0..255, unnormalized probabilities.
    """

    out: Tensor
    e: Tensor


def heads(x: Tensor, count: int) -> Tensor:
    """Split (..., T, D) into (..., H, T, D / H), ``count`` heads of consecutive columns."""
    return x.unflatten(-1, (count, -1)).transpose(-3, -2)


def attention(
    q: Tensor, k: Tensor, v: Tensor, multiplier: Tensor, shift: int, kappa22: int, kappa26: int,
    pairs: Tensor | None = None
) -> Attention:
    """Scores, softmax and sum of values of every head.

    ``logits = requantize(q . k, multiplier[h], shift, SCORE)``; ``e, total = softmax(logits)``;
    ``out = requantize(sum_j e[j] v[j], *normalizer(total), ACTIVATION)``.

    Parameters
    ----------
    q, k, v : Tensor
        (..., T, D) int64 in -128..127; head ``h`` owns ``D / H`` consecutive columns.
    multiplier : Tensor
        (H,) scale of the scores in 1/64 octave.
    shift : int
        Shift of ``multiplier``.
    kappa22, kappa26 : int
        As for :func:`deltamoe.golden.arithmetic.softmax.normalizer`.
    pairs : Tensor, optional
        (H, T, T) bool, which keys a query attends to; all if left out. The logits of the others
        are the lowest code, whose exponential is 0; a query without a key gets the mean value.
    """
    count = multiplier.shape[0]
    q, k, v = (heads(t, count) for t in (q, k, v))  # each (..., H, T, Dh)
    multiplier = multiplier.to(torch.int64).view(count, 1, 1)
    logits = requantize(linear(q, k), multiplier, shift, SCORE)  # (..., H, T, T)
    if pairs is not None:
        logits = logits.masked_fill(~pairs, SCORE.lowest)
    e, total = softmax(logits)
    scale, scale_shift = normalizer(total, kappa22, kappa26)  # (..., H, T)
    acc = linear(e, v.mT)  # (..., H, T, Dh)
    out = requantize(acc, scale[..., None], scale_shift[..., None], ACTIVATION)
    return Attention(out.transpose(-3, -2).flatten(-2), e)
