"""Bits that the sums of a layer may need, from its weights and the range of its operands."""

from typing import NamedTuple

import numpy as np

from deltamoe.golden.numerics import ACTIVATION, LARGEST_CODE, WEIGHT
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Mode

SIGNED, UNSIGNED = (ACTIVATION.lowest, ACTIVATION.highest), (0, LARGEST_CODE)
DIFFERENCE = -LARGEST_CODE, LARGEST_CODE
"""Least and largest operand of 8 bits, with and without a sign; difference of two of them."""


class Range(NamedTuple):
    """Least and largest value, both reached by some operands; 0 is between them."""

    low: int
    high: int

    @property
    def bits(self) -> int:
        """Bits of a signed integer that holds both."""
        return max(self.high, ~self.low).bit_length() + 1


def products(weight: np.ndarray, low: int, high: int, bias: np.ndarray | int = 0) -> Range:
    """Bound ``sum_k a[k] * weight[n, k] + bias[n]`` over all ``a[k]`` in ``low..high``.

    Hardware adds the products in an order and in parts of its own, and the bias last. So the sum
    of any part of the products, without the bias, is within the range too: an element left out
    counts as 0, which ``low..high`` contains.

    Parameters
    ----------
    weight : np.ndarray
        (N, K) integers.
    low, high : int
        Least and largest operand, ``low <= 0 <= high``.
    bias : np.ndarray or int
        (N,) integers.
    """
    positive = np.maximum(weight, 0).sum(-1, dtype=np.int64)
    negative = np.minimum(weight, 0).sum(-1, dtype=np.int64)
    least, most = low * positive + high * negative, high * positive + low * negative
    return Range(int(min(least.min(), (least + bias).min())),
                 int(max(most.max(), (most + bias).max())))


def attention(tokens: int, head_dim: int) -> Range:
    """Bound the scores, int8 queries times keys, and the sums of values times exponentials."""
    largest = max(-SIGNED[0] * WEIGHT.highest * head_dim, UNSIGNED[1] * WEIGHT.highest * tokens)
    return Range(-largest, largest)


def events(mode: Mode, operand: tuple[int, int], zero_point: int) -> tuple[int, int]:
    """Return the least and largest event of a layer with operands in the range ``operand``."""
    if mode == Mode.DELTA:
        return DIFFERENCE
    reference = zero_point if mode == Mode.ZERO_SKIP else 0
    return operand[0] - reference, operand[1] - reference


def layer(weight: np.ndarray, bias: np.ndarray | int, mode: Mode, *, operand_signed: bool,
          zero_point: int) -> Range:
    """Bound what is summed of a linear layer: events, with the bias, and what is kept of them.

    ``bias`` is that of the hardware: for ``ZERO_SKIP`` it holds what the zero point adds. In
    ``DELTA`` the sums of the events are added to those that are kept, which are the operands'.
    """
    operand = SIGNED if operand_signed else UNSIGNED
    sent = events(mode, operand, zero_point)
    if mode != Mode.DELTA:
        return products(weight, *sent, bias)
    parts = products(weight, *sent), products(weight, *operand, bias)
    return Range(min(part.low for part in parts), max(part.high for part in parts))


def check_range(name: str, found: Range, hw: HwConfig, beyond: int = 0) -> None:
    """Refuse sums that need more than ``hw.acc_width + beyond`` bits.

    Raises
    ------
    ValueError
        Names the layer, the bits that it needs and those of the hardware.
    """
    if found.bits > hw.acc_width + beyond:
        raise ValueError(f"{name}: sums reach {found.low}..{found.high}, which needs "
                         f"acc_width={found.bits - beyond}; {hw.name} has acc_width={hw.acc_width}")
