"""The integers of a network: how wide, in which units, and by what their sums are scaled.

Stated once. The specification computes with these, the quantizer fills them, the compiler encodes
them, and the hardware is built for them. No arithmetic.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """Signed integers that a sum is rounded and saturated to.

    Attributes
    ----------
    bits : int
        Width.
    symmetric : bool
        Whether the lowest code is left out, as weights do without it.
    """

    bits: int
    symmetric: bool = False

    @property
    def highest(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1

    @property
    def lowest(self) -> int:
        """Smallest code."""
        return -self.highest - (not self.symmetric)


ACTIVATION = Result(8)
"""Normalized rows, queries, and what attention makes: operands of the next product."""

WEIGHT = Result(8, symmetric=True)
"""Weights; so keys and values too, which are the weights of the attention's two products."""

HIDDEN = Result(10)
"""What the first of two layers makes, which the activation table maps to a uint8 code."""

TABLE = 1 << HIDDEN.bits
"""Entries of an activation table."""

SCORE = Result(16)
"""Scores of the attention, of a gate and of classes."""

EXPERT = Result(20)
"""What an expert makes of a token, before it is weighed."""

UPDATE = Result(24)
"""What a layer adds to the residual stream; nothing is wider."""

RESIDUAL = Result(16)
"""The residual stream."""

LARGEST_CODE = 255
"""Of an operand behind the activation table, and of an exponential: uint8."""

PIXEL_ZERO = 128
"""The pixel whose code is 0."""

RESIDUAL_FRACTION, EXPERT_FRACTION, ROUTE_FRACTION = 8, 10, 16
"""Fraction bits of the residual stream, of an expert's output, and of an expert's weight.

The first two are those of a network whose quantization was not refined; another scale changes both
alike, and no integer here.
"""

COMBINE_SHIFT = EXPERT_FRACTION + ROUTE_FRACTION - RESIDUAL_FRACTION
"""Bits that an expert's output times its weight has below the residual stream."""

RESIDUAL_SCALE = 2.0**RESIDUAL_FRACTION
"""Codes of one."""

SCORE_OCTAVE, GATE_OCTAVE = 64, 256
"""Codes of an octave, a factor of two, in scores of the attention and in those of a gate."""

PLANE = 8
"""Bits of the lower of the two planes of a gate's weight of 16 bits."""

SHIFTS = (14, 18, 22, 26)
"""Shifts that requantization offers; a descriptor holds the place of one in this list."""

LARGEST_MULTIPLIER = 65535
"""Of a requantization, and largest weight of an expert."""

KAPPA_SHIFTS, LONG_ROW = (22, 26), 4096
"""Shift behind the division by a row's sum of exponentials, below ``LONG_ROW`` and from it on."""

NORM_FRACTION = 12
"""Fraction bits of a normalized element before its channel's gain."""
