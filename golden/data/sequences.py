"""Short sequences made from the handwritten digits: each digit moves, is filmed by a noisy sensor.

Lengths are in pixels, brightness in codes of 0..255, time in frames.
"""

import torch
from torch import Tensor
from torch.nn import functional

from deltamoe.golden.data.images import digits

KINDS = ("moving", "noisy", "both")
"""The digit moves; the sensor has noise; both."""

FRAMES = 8

REACH = 1.0
"""Largest distance from where the digit stood."""

PERIOD = 16
"""Frames until it is back there: an eighth of a pixel from frame to frame."""

NOISE = 2.0
"""Standard deviation of the sensor's noise, before rounding."""


def moved(images: Tensor, offsets: Tensor) -> Tensor:
    """Move images (N, C, H, W) by ``offsets`` (N, 2), down and right; bilinear, zero from outside.

    Whole pixels are exact but for float32's rounding.
    """
    height, width = images.shape[-2:]
    matrix = torch.eye(2, 3).repeat(len(images), 1, 1)
    matrix[:, 0, 2] = -2 * offsets[:, 1] / width
    matrix[:, 1, 2] = -2 * offsets[:, 0] / height
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def paths(count: int, generator: torch.Generator, frames: int = FRAMES) -> Tensor:
    """Draw ways straight there and back, (count, frames, 2), each with its direction and start.

    ``REACH * (1 - |2 (n + start) / PERIOD mod 2 - 1|)`` in frame ``n``, ``start`` a whole number.
    """
    angle = 2 * torch.pi * torch.rand(count, 1, generator=generator)
    start = torch.randint(0, PERIOD, (count, 1), generator=generator)
    phase = 2 * (torch.arange(frames) + start) / PERIOD % 2                    # (count, frames)
    distance = REACH * (1 - (phase - 1).abs())
    return torch.stack([distance * angle.sin(), distance * angle.cos()], -1)


def film(images: Tensor, kind: str, generator: torch.Generator, frames: int = FRAMES) -> Tensor:
    """Film uint8 images (N, C, H, W): uint8 (N, frames, C, H, W).

    Raises
    ------
    ValueError
        No such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    shown = images.float()[:, None].repeat(1, frames, 1, 1, 1)
    if kind != "noisy":
        offsets = paths(len(images), generator, frames)
        shown = moved(shown.flatten(0, 1), offsets.flatten(0, 1)).view_as(shown)
    if kind != "moving":
        shown = shown + NOISE * torch.randn(shown.shape, generator=generator)
    return shown.round().clamp(0, 255).to(torch.uint8)


def sequences(part: str, kind: str, seed: int = 0, frames: int = FRAMES,
              count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return (the last ``count``) sequences of the digits ``part``, and the digit of each.

    No digit of ``train`` is in ``test``, as in :func:`deltamoe.golden.data.images.digits`.
    """
    images, digit = (values if count is None else values[-count:] for values in digits(part))
    return film(images, kind, torch.Generator().manual_seed(seed), frames), digit
