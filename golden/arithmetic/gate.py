"""Expert choice: stable top-k over accumulators, softmax weights over all experts."""

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.numerics import LARGEST_MULTIPLIER, PLANE, ROUTE_FRACTION, SCORE
from deltamoe.golden.tables import EXP2_15BIT


def exponential(distance: Tensor) -> Tensor:
    """``2**(-distance / 256)`` with 15 fraction bits, ``distance`` at least 0.

    With ``i = distance >> 8`` and ``f = distance & 255``: ``(T[f] + (2**i >> 1)) >> i`` with
    ``T`` = :data:`deltamoe.golden.tables.EXP2_15BIT`, 0 from ``i = 17`` on.
    """
    octave = (distance >> 8).clamp(max=17)
    return (torch.tensor(EXP2_15BIT)[distance & 255] + ((1 << octave) >> 1)) >> octave


def top_k_experts(acc: Tensor, top_k: int) -> Tensor:
    """Indices of the ``top_k`` largest, descending; equal values go to the lower index.

    Parameters
    ----------
    acc : Tensor
        (T, E), any dtype.
    top_k : int
        1..E.

    Returns
    -------
    Tensor
        (T, top_k) int64.
    """
    return acc.argsort(dim=-1, descending=True, stable=True)[..., :top_k]


def gate_weights(acc: Tensor, multiplier: int, shift: int, experts: Tensor) -> Tensor:
    """Softmax over all experts, kept for the chosen ones and not renormalized.

    ``t = requantize(acc, multiplier, shift, SCORE)`` in 1/256 octave,
    ``e = exponential(max(t) - t)``, ``weight = min(65535, floor(e * 2**16 / sum(e) + 1/2))``.

    Parameters
    ----------
    acc : Tensor
        (T, E) int64.
    multiplier, shift : int
        Scale of ``acc`` in units of 1/256 octave.
    experts : Tensor
        (T, K) indices whose weights are wanted.

    Returns
    -------
    Tensor
        (T, K) int64 in 0..65535, units of ``2**-16``.
    """
    t = requantize(acc, multiplier, shift, SCORE)
    e = exponential(t.amax(-1, keepdim=True) - t)
    total = e.sum(-1, keepdim=True)
    weights = (((e << (ROUTE_FRACTION + 1)) + total) // (2 * total)).clamp(max=LARGEST_MULTIPLIER)
    return weights.gather(-1, experts)


def gate(acc: Tensor, multiplier: int, shift: int, top_k: int) -> tuple[Tensor, Tensor]:
    """Choose each token's experts by its raw accumulators, and weigh them.

    Parameters
    ----------
    acc : Tensor
        (T, E) int64, at most 33 signed bits.
    multiplier, shift : int
        As for :func:`gate_weights`.
    top_k : int
        Experts per token.

    Returns
    -------
    experts, weights : Tensor
        (T, top_k) int64 by descending accumulator; weights in units of ``2**-16``.
    """
    experts = top_k_experts(acc, top_k)
    return experts, gate_weights(acc, multiplier, shift, experts)


def planes(weight: Tensor) -> Tensor:
    """Split int16 weights (E, K) into int8 rows (2E, K), the high and low plane of each expert.

    ``weight = 256 * high + low`` with both in -128..127, so a gate runs as a linear layer of
    twice as many columns.
    """
    half = 1 << (PLANE - 1)
    low = ((weight.to(torch.int64) + half) & (2 * half - 1)) - half
    high = (weight.to(torch.int64) - low) >> PLANE
    return torch.stack([high, low], dim=1).flatten(0, 1)
