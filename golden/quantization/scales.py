"""What one code of an activation is worth: from the range that calibration saw, or as trained.

``seen`` holds a block's ranges by name and, under ``{name}.step``, the trained steps of
:mod:`deltamoe.golden.training.delta_layer`. A step is one code, unless the range needs a wider one:
so the integer network sends what the trained one sends.
"""

import torch
from torch import Tensor
from torch.nn import functional

from deltamoe.golden.numerics import (
    ACTIVATION,
    HIDDEN,
    KAPPA_SHIFTS,
    LARGEST_CODE,
    LARGEST_MULTIPLIER,
    TABLE,
)

MAX_KAPPA = LARGEST_MULTIPLIER * LARGEST_CODE / 2 ** KAPPA_SHIFTS[0] * 0.999

FLAT = 3.0
"""Below the negative of this, GELU is nearly zero, so its table has to reach no further."""

SMALL = FLAT / 16
"""Largest magnitude of hidden values that would use too few of the codes of a table to 3."""


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
    made = torch.maximum(torch.maximum(seen["context.step"], seen["context"] / ACTIVATION.highest),
                         scale / MAX_KAPPA)
    kappa = float((scale / made).max())
    return made * kappa, kappa


def hidden_table(seen: dict[str, Tensor]) -> tuple[Tensor, float, float, int]:
    """Return :func:`gelu_table` of a block's hidden values."""
    return gelu_table(*seen["hidden"].tolist(), float(seen.get("hidden.step", 0)))


def gelu_table(largest: float, lowest: float, step: float = 0
               ) -> tuple[Tensor, float, float, int]:
    """Table, scale of its int10 input, scale of its uint8 output, and the output's zero point.

    The input is clipped at its positive maximum, where GELU still matters, but not below ``FLAT``,
    unless all that was seen is ``SMALL``; the output is unsigned with a zero point, since a
    symmetric one would waste a bit on values above -0.17. With a ``step`` the outputs are its
    multiples, as many codes apart as there is room for: a wide scale could outgrow the
    requantization's multiplier.

    Parameters
    ----------
    largest, lowest : float
        Largest value that was seen, and the negative of the smallest; 0 if of the other sign.
    step : float
        Least difference of two outputs.
    """
    reach, below_zero = max(largest, FLAT), 0.17
    if 0 < max(largest, lowest) < SMALL:
        reach = below_zero = max(largest, lowest)
    given = reach / HIDDEN.highest
    step = max((given * HIDDEN.highest + below_zero) / LARGEST_CODE, step)
    below = round(below_zero / step)
    apart = max(1, LARGEST_CODE // (round(given * HIDDEN.highest / step) + below))
    codes = torch.arange(TABLE)
    codes = torch.where(codes > HIDDEN.highest, codes - TABLE, codes).double()
    table = ((functional.gelu(codes * given) / step).round() + below) * apart
    return table.clamp(0, LARGEST_CODE).to(torch.uint8), given, step / apart, below * apart
