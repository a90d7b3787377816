"""Accumulator to activation: scale, round once, saturate."""

from torch import Tensor

from deltamoe.golden.numerics import Result


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


def saturate(value: Tensor, result: Result) -> Tensor:
    """Clamp to the codes of ``result``."""
    return value.clamp(result.lowest, result.highest)


def requantize(acc: Tensor, multiplier: int | Tensor, shift: int | Tensor,
               result: Result) -> Tensor:
    """Compute ``saturate(floor(acc * multiplier / 2**shift + 1/2), result)``.

    Parameters
    ----------
    acc : Tensor
        int64 accumulators, output channels last.
    multiplier : int or Tensor
        0..65535, broadcast against ``acc``.
    shift : int or Tensor
        Any shift; the hardware offers :data:`deltamoe.golden.numerics.SHIFTS`.
    result : Result
        What the sum is saturated to.

    Returns
    -------
    Tensor
        int64.
    """
    return saturate(round_shift(acc * multiplier, shift), result)
