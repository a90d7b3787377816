"""The residual stream: one fixed scale, saturating."""

from torch import Tensor

from deltamoe.golden.arithmetic.requantize import saturate
from deltamoe.golden.numerics import RESIDUAL


def residual_add(x: Tensor, y: Tensor) -> Tensor:
    """Compute ``saturate(x + y, RESIDUAL)``; ``y`` may be wider than ``x``."""
    return saturate(x + y, RESIDUAL)
