"""What one code of an activation is worth: from the range that calibration saw, or as trained.

``seen`` holds a block's ranges by name and, under ``{name}.step``, the trained steps of
:mod:`golden.delta_layer`. A step is one code, unless the range needs a wider one: so the integer
network sends what the trained one sends.
"""

import torch
from torch import Tensor
from torch.nn import functional

MAX_KAPPA = 65535 * 255 / 2**22 * 0.999


def migration(seen: Tensor, weight: Tensor) -> Tensor:
    """Scale of each normalized channel, moved into the next weights' columns.

    ``s ~ max|h|**0.75 / max|W|**0.25``, normalized so that the largest code is 127 (SmoothQuant,
    Xiao et al., ICML 2023, with exponent 0.75). Channels that calibration hardly saw, the class
    token's above all, get the room of a quarter of the median.
    """
    seen = seen.clamp(min=max(1e-3, float(seen.median()) / 4))
    ratio = seen ** 0.75 / weight.abs().amax(0).clamp(min=1e-6) ** 0.25
    return ratio * float((seen / ratio).max()) / 127


def channel_scale(seen: dict[str, Tensor], name: str, weight: Tensor) -> Tensor:
    """Scale of each normalized channel: its step, or else migrated."""
    if f"{name}.step" not in seen:
        return migration(seen[name], weight)
    return torch.maximum(seen[f"{name}.step"], seen[name] / 127)


def score_scales(seen: dict[str, Tensor], heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the channels of Q are multiplied by and those of K divided, and each head's scales.

    They make both ranges of a channel equal; or, where Q has steps, all of these 1.
    """
    q, k, _ = (value.clamp(min=1e-6) for value in seen["qkv"].chunk(3))
    if "query.step" in seen:
        equal, sq = 1 / torch.maximum(seen["query.step"], q / 127), torch.ones(heads).double()
    else:
        equal = (k / q).sqrt()
        sq = (q * equal).view(heads, -1).amax(-1) / 127
    return equal, sq, (k / equal).view(heads, -1).amax(-1) / 127


def value_scale(value: Tensor, seen: dict[str, Tensor]) -> tuple[Tensor, float]:
    """Scale of each channel of V, and by how much that of the attention's output is finer."""
    scale = value / 127
    if "context.step" not in seen:
        largest = float((seen["context"] / scale).max())
        return scale, min(127 / max(largest, 1e-6), MAX_KAPPA)
    made = torch.maximum(torch.maximum(seen["context.step"], seen["context"] / 127),
                         scale / MAX_KAPPA)
    kappa = float((scale / made).max())
    return made * kappa, kappa


def hidden_table(seen: dict[str, Tensor]) -> tuple[Tensor, float, float, int]:
    """Return :func:`gelu_table` of a block's hidden values."""
    return gelu_table(float(seen["hidden"]), float(seen.get("hidden.step", 0)))


def gelu_table(largest: float, step: float = 0) -> tuple[Tensor, float, float, int]:
    """Table, scale of its int10 input, scale of its uint8 output, and the output's zero point.

    The input is clipped at its positive maximum, where GELU still matters; the output is
    unsigned with a zero point, since a symmetric one would waste a bit on values above -0.17.
    With a ``step`` the outputs are its multiples, as many codes apart as there is room for: a
    wide scale could outgrow the requantization's multiplier.
    """
    given = max(largest, 3.0) / 511
    step = max((given * 511 + 0.17) / 255, step)
    below = round(0.17 / step)
    apart = max(1, 255 // (round(given * 511 / step) + below))
    codes = torch.arange(1024)
    codes = torch.where(codes > 511, codes - 1024, codes).double()
    table = ((functional.gelu(codes * given) / step).round() + below) * apart
    return table.clamp(0, 255).to(torch.uint8), given, step / apart, below * apart
