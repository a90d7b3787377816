"""Accumulator to activation: scale, round once, saturate."""

from torch import Tensor


def round_shift(value: Tensor, shift: int | Tensor) -> Tensor:
    """Divide by ``2**shift``, halves rounded up: ``floor(value / 2**shift + 1/2)``.

    Parameters
    ----------
    value : Tensor
        int64, any shape.
    shift : int or Tensor
        At least 0; a tensor is broadcast against ``value``.

    Returns
    -------
    Tensor
        int64.
    """
    return (value + ((1 << shift) >> 1)) >> shift


def saturate(value: Tensor, width: int) -> Tensor:
    """Clamp to the range of a signed integer of ``width`` bits."""
    limit = 1 << (width - 1)
    return value.clamp(-limit, limit - 1)


def requantize(acc: Tensor, multiplier: int | Tensor, *, shift: int | Tensor, width: int) -> Tensor:
    """Compute ``saturate(floor(acc * multiplier / 2**shift + 1/2), width)``.

    Parameters
    ----------
    acc : Tensor
        int64 accumulators, output channels last.
    multiplier : int or Tensor
        0..65535, broadcast against ``acc``.
    shift : int or Tensor
        Any shift; the hardware offers 14, 18, 22 and 26.
    width : int
        Bits of the signed result.

    Returns
    -------
    Tensor
        int64.
    """
    return saturate(round_shift(acc * multiplier, shift), width)
