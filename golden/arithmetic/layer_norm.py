"""LayerNorm in one pass over exact integer sums."""

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.requantize import round_shift, saturate
from deltamoe.golden.numerics import ACTIVATION, NORM_FRACTION
from deltamoe.golden.tables import RSQRT


def reciprocal_root(variance: Tensor) -> tuple[Tensor, Tensor]:
    """Reciprocal square root by table and one Newton step.

    With ``e = floor(log2 variance)`` rounded down to even and ``v = variance * 2**(30 - e)``
    truncated, ``1 / sqrt(variance)`` is ``root * 2**(-16 - e/2)``.

    Parameters
    ----------
    variance : Tensor
        int64, at least 1 and below ``2**62``.

    Returns
    -------
    root : Tensor
        int64 in 2**15..65535.
    half_exponent : Tensor
        int64, ``e / 2``.
    """
    # A float64 logarithm rounds up just below a power of two, so bits are counted instead.
    exponent = sum((variance >= (1 << bit)).to(torch.int64) for bit in range(2, 62, 2)) * 2
    v = (variance << (30 - exponent).clamp(min=0)) >> (exponent - 30).clamp(min=0)
    root = torch.tensor(RSQRT)[(v >> 25) - 32]
    a = ((v >> 14) * root) >> 16
    a = (a * root) >> 16
    root = ((root * ((3 << 16) - a) + (1 << 16)) >> 17).clamp(max=65535)
    return root, exponent >> 1


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, gain_shift: int, epsilon: int) -> Tensor:
    """Compute ``(x - mean) / sqrt(variance + 1e-6) * gain + bias`` in int8 codes.

    ``V = D * sum(x**2) - sum(x)**2 + epsilon``; ``z = (D * x - sum(x)) / sqrt(V)`` with 12
    fraction bits by :func:`reciprocal_root`;
    ``out = saturate(round_shift(z * gain + bias, gain_shift + 12), ACTIVATION)``.

    Parameters
    ----------
    x : Tensor
        (..., D) int16.
    gain : Tensor
        (D,) int16 with ``gain_shift`` fraction bits.
    bias : Tensor
        (D,) int32 with ``gain_shift + 12`` fraction bits.
    gain_shift : int
        0..15.
    epsilon : int
        ``D**2 * 1e-6`` in squared units of ``x``, at least 1.

    Returns
    -------
    Tensor
        (..., D) int64 in -128..127.
    """
    x, gain, bias = (tensor.to(torch.int64) for tensor in (x, gain, bias))
    dim = x.shape[-1]
    total = x.sum(-1, keepdim=True)
    variance = dim * (x * x).sum(-1, keepdim=True) - total * total + epsilon
    root, half_exponent = reciprocal_root(variance)
    z = round_shift((dim * x - total) * root, 4 + half_exponent)
    return saturate(round_shift(z * gain + bias, gain_shift + NORM_FRACTION), ACTIVATION)
