"""What one code of an activation is worth: from the range that calibration saw, or as trained.

``seen`` holds a block's ranges by name and, under ``{name}.step``, the trained steps of
:mod:`deltamoe.golden.training.delta_layer`. A step is one code, unless the range needs a wider one:
so the integer network sends what the trained one sends.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from deltamoe.golden.model import Site
from deltamoe.golden.numerics import (
    ACTIVATION,
    HIDDEN,
    KAPPA_SHIFTS,
    LARGEST_CODE,
    LARGEST_MULTIPLIER,
    RESIDUAL,
    RESIDUAL_SCALE,
    TABLE,
)

MAX_KAPPA = LARGEST_MULTIPLIER * LARGEST_CODE / 2 ** KAPPA_SHIFTS[0] * 0.999

BELOW_FLAT = 0.006
"""An activation is flat below the input from which on it is nearer to zero than this."""

SMALL = 1 / 16
"""Share of where an activation is flat; inputs below it would use too few of a table's codes."""

INPUTS = torch.arange(-8000, 1).double() / 1000
"""Where an activation is looked at: none has another value below."""


def floored(value: Tensor, least: float) -> Tensor:
    """Raise magnitudes to ``least``, or to that share of the largest if it is below 1.

    So a range in which calibration saw nothing is not zero, of a network of any scale.

    Parameters
    ----------
    value : Tensor
        Magnitudes, any shape.
    least : float
        Positive; also the result where all are zero.
    """
    largest = float(value.max())
    return value.clamp(min=least * min(1.0, largest) if largest else least)


def migration(seen: Tensor, weight: Tensor) -> Tensor:
    """Scale of each normalized channel, moved into the next weights' columns.

    ``s ~ max|h|**0.75 / max|W|**0.25``, normalized so that the largest code is 127 (SmoothQuant,
    Xiao et al., ICML 2023, with exponent 0.75). Channels that calibration hardly saw, the class
    token's above all, get the room of a quarter of the median.
    """
    seen = floored(seen, 1e-3).clamp(min=float(seen.median()) / 4)
    ratio = seen ** 0.75 / floored(weight.abs().amax(0), 1e-6) ** 0.25
    return ratio * float((seen / ratio).max()) / ACTIVATION.highest


def channel_scale(seen: dict[str, Tensor], name: str, weight: Tensor) -> Tensor:
    """Scale of each normalized channel: its step, or else migrated."""
    if f"{name}.step" not in seen:
        return migration(seen[name], weight)
    return torch.maximum(seen[f"{name}.step"], seen[name] / ACTIVATION.highest)


def score_scales(seen: dict[str, Tensor], heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the channels of Q are multiplied by and those of K divided, and each head's scales.

    They make both ranges of a channel equal; or, where Q has steps, all of these 1.
    """
    q, k, _ = (floored(value, 1e-6) for value in seen["qkv"].chunk(3))
    if "query.step" in seen:
        equal = 1 / torch.maximum(seen["query.step"], q / ACTIVATION.highest)
        sq = torch.ones(heads).double()
    else:
        equal = (k / q).sqrt()
        sq = (q * equal).view(heads, -1).amax(-1) / ACTIVATION.highest
    return equal, sq, (k / equal).view(heads, -1).amax(-1) / ACTIVATION.highest


def value_scale(value: Tensor, seen: dict[str, Tensor]) -> tuple[Tensor, float]:
    """Scale of each channel of V, and by how much that of the attention's output is finer."""
    scale = value / ACTIVATION.highest
    if "context.step" not in seen:
        largest = float((seen["context"] / scale).max())
        return scale, min(ACTIVATION.highest / max(largest, 1e-6), MAX_KAPPA)
    step = torch.maximum(torch.maximum(seen["context.step"], seen["context"] / ACTIVATION.highest),
                         scale / MAX_KAPPA)
    kappa = float((scale / step).max())
    return step * kappa, kappa


STREAM = {"in", "middle", "out"}
"""What the network calls the residual stream between its operators."""

ROOM = 1.25
"""How much larger than calibration saw a value of the residual stream may get."""

FINEST = 16 * RESIDUAL_SCALE
"""Most codes of one in the residual stream: finer ones could ask for a multiplier of 4 or more."""


def residual_scale(ranges: Mapping[Site, Tensor]) -> float:
    """Return the codes of one in the residual stream: the largest value fills its integers.

    Nothing else on the way depends on it: multipliers, positions and the normalization's epsilon
    hold it, and an expert's outputs are always four times as fine.
    """
    largest = max(float(seen.max()) for site, seen in ranges.items() if site.kind in STREAM)
    return min(FINEST, RESIDUAL.highest / (ROOM * largest)) if largest else RESIDUAL_SCALE


Activation = Callable[[Tensor], Tensor]
"""A function of each element that is nearly zero far below zero."""


def hidden_table(seen: dict[str, Tensor], activation: Activation
                 ) -> tuple[Tensor, float, float, int]:
    """Return :func:`activation_table` of a block's hidden values."""
    return activation_table(activation, *seen["hidden"].tolist(),
                            float(seen.get("hidden.step", 0)))


def below_and_flat(activation: Activation) -> tuple[float, float]:
    """Return how far below zero an activation gets, and the negative input where it is flat.

    Both are rounded to two and to no digits, so that every processor makes the same table.
    """
    values = activation(INPUTS)
    flat = values.abs() >= BELOW_FLAT
    first = float(-INPUTS[flat][0]) if flat.any() else 0.0
    return round(float(-values.min()), 2), float(max(3, math.ceil(first)))


def activation_table(activation: Activation, largest: float, lowest: float, step: float = 0
                     ) -> tuple[Tensor, float, float, int]:
    """Table, scale of its int10 input, scale of its uint8 output, and the output's zero point.

    The input is clipped at its positive maximum, where the activation still matters, but not below
    where it is flat, unless all that was seen is ``SMALL`` beside that; the output is unsigned with
    a zero point, since a symmetric one would waste a bit on values that are hardly below zero. With
    a ``step`` the outputs are its multiples, as many codes apart as there is room for: a wide scale
    could outgrow the requantization's multiplier.

    Parameters
    ----------
    activation : callable
        What the table is of.
    largest, lowest : float
        Largest value that was seen, and the negative of the smallest; 0 if of the other sign.
    step : float
        Least difference of two outputs.
    """
    below_zero, flat = below_and_flat(activation)
    reach = max(largest, flat)
    if 0 < max(largest, lowest) < SMALL * flat:
        reach = below_zero = max(largest, lowest)
    input_scale = reach / HIDDEN.highest
    step = max((input_scale * HIDDEN.highest + below_zero) / LARGEST_CODE, step)
    below = round(below_zero / step)
    apart = max(1, LARGEST_CODE // (round(input_scale * HIDDEN.highest / step) + below))
    codes = torch.arange(TABLE)
    codes = torch.where(codes > HIDDEN.highest, codes - TABLE, codes).double()
    table = ((activation(codes * input_scale) / step).round() + below) * apart
    return table.clamp(0, LARGEST_CODE).to(torch.uint8), input_scale, step / apart, below * apart
