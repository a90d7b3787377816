"""Residual stream: int16, fixed scale 2**-8, saturating."""

from torch import Tensor

from deltamoe.golden.arithmetic.requantize import saturate


def residual_add(x: Tensor, y: Tensor) -> Tensor:
    """Compute ``saturate(x + y, 16)``; ``y`` may be wider than ``x``."""
    return saturate(x + y, 16)
