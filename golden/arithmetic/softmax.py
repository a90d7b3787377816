"""Softmax in base 2 whose division is deferred to the sum of the values."""

import torch
from torch import Tensor

from deltamoe.golden.numerics import KAPPA_SHIFTS, LARGEST_MULTIPLIER, LONG_ROW
from deltamoe.golden.tables import EXP2_8BIT


def softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Exponentials relative to the row's maximum, not normalized, and their sum.

    With ``d = max(logits) - logits`` in units of 1/64 octave, ``i = d >> 6`` and ``f = d & 63``:
    ``e = (T[f] + (2**i >> 1)) >> i`` with ``T`` = :data:`deltamoe.golden.tables.EXP2_8BIT`, 0 from
    ``i = 10`` on. The probability of key ``j`` is ``e[j] / total``.

    Parameters
    ----------
    logits : Tensor
        (..., N) int16, base-2 logarithms with 6 fraction bits.

    Returns
    -------
    e : Tensor
        (..., N) int64 in 0..255; the maximum is always 255.
    total : Tensor
        (...) int64, sum of ``e``.
    """
    logits = logits.to(torch.int64)
    distance = logits.amax(-1, keepdim=True) - logits
    octave = (distance >> 6).clamp(max=10)
    mantissa = torch.tensor(EXP2_8BIT)[distance & 63]
    e = (mantissa + ((1 << octave) >> 1)) >> octave
    return e, e.sum(-1)


def normalizer(total: Tensor, kappa22: int, kappa26: int) -> tuple[Tensor, Tensor]:
    """Requantization that divides by a row's sum: ``kappa / total`` as multiplier and shift.

    ``shift = 22 if total < 4096 else 26``;
    ``multiplier = min(65535, (kappa_shift + (total >> 1)) div total)``.

    Parameters
    ----------
    total : Tensor
        int64 sums of :func:`softmax`, at least 255.
    kappa22, kappa26 : int
        Scale of the values over scale of the output, times ``2**22`` and ``2**26``.

    Returns
    -------
    multiplier, shift : Tensor
        int64, shaped as ``total``.
    """
    wide = total >= LONG_ROW
    kappa = torch.where(wide, kappa26, kappa22)
    multiplier = ((kappa + (total >> 1)) // total).clamp(max=LARGEST_MULTIPLIER)
    short, long = KAPPA_SHIFTS
    return multiplier, torch.where(wide, long, short)
