"""RMSNorm: LayerNorm without the mean and without a bias."""

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.layer_norm import reciprocal_root
from deltamoe.golden.arithmetic.requantize import round_shift, saturate
from deltamoe.golden.numerics import ACTIVATION, NORM_FRACTION


def rms_norm(x: Tensor, gain: Tensor, gain_shift: int, epsilon: int) -> Tensor:
    """Compute ``x / sqrt(mean(x**2) + 1e-6) * gain`` in int8 codes.

    ``z = D * x / sqrt(D * sum(x**2) + epsilon)`` with 12 fraction bits by
    :func:`deltamoe.golden.arithmetic.layer_norm.reciprocal_root`;
    ``out = saturate(round_shift(z * gain, gain_shift + 12), ACTIVATION)``.

    Parameters
    ----------
    x : Tensor
        (..., D) int16.
    gain : Tensor
        (D,) int16 with ``gain_shift`` fraction bits.
    gain_shift : int
        0..15.
    epsilon : int
        ``D**2 * 1e-6`` in squared units of ``x``, at least 1.

    Returns
    -------
    Tensor
        (..., D) int64 in -128..127.
    """
    x, gain = x.to(torch.int64), gain.to(torch.int64)
    dim = x.shape[-1]
    root, half_exponent = reciprocal_root(dim * x.square().sum(-1, keepdim=True) + epsilon)
    z = round_shift(dim * x * root, 4 + half_exponent)
    return saturate(round_shift(z * gain, gain_shift + NORM_FRACTION), ACTIVATION)
