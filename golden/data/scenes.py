"""Generated videos: one textured scene before a camera that stands or moves.

Lengths are in pixels, brightness in codes of 0..255, time in frames. A frame is a function of its
number and the seed alone, and all videos of a seed have the same sensor noise.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deltamoe.golden.config import ModelConfig

NOISE = 1.0
"""Standard deviation of the sensor noise, before rounding, which hides 38 % of its values."""

BRIGHTNESS, CONTRAST, COLOR = 120.0, 40.0, 15.0
"""Mean and standard deviation of a texture, and standard deviation of a channel around it."""

SLOPE = 1.2
"""Amplitude falls with this power of the frequency; photographs have 1.0 to 1.4."""

MARGIN = 4
"""Sides of the panned texture, in images; it repeats beyond."""

PAN = (0.2, 0.98)
"""Rows and columns that the camera advances in a frame: one pixel in total."""

CROSSING = 32
"""Frames in which the object crosses the image."""


def texture(rng: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    """Draw a texture (C, height, width) that repeats seamlessly, its spectrum as a photograph's."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.normal(size=(channels + 1, height, width)))
    layers = np.fft.ifft2(spectrum * frequency**-SLOPE).real
    layers /= layers.std(axis=(1, 2), keepdims=True).clip(1e-9)  # one pixel has none
    return BRIGHTNESS + CONTRAST * layers[:1] + COLOR * layers[1:]


def shifted(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """Move the camera by ``(dy, dx)`` over a repeating (C, height, width), bilinear between."""
    for axis, shift in ((-2, dy), (-1, dx)):
        whole = int(np.floor(shift))
        low, high = np.roll(image, -whole, axis), np.roll(image, -whole - 1, axis)
        image = low + (shift - whole) * (high - low)
    return image


def fixed(rng: np.random.Generator, shape: tuple[int, int, int]) -> Callable[[int], np.ndarray]:
    """Fixed camera, nothing moves."""
    scene = texture(rng, *shape)
    return lambda number: scene


def moving(rng: np.random.Generator, shape: tuple[int, int, int]) -> Callable[[int], np.ndarray]:
    """Fixed camera; a textured disc of a quarter of the shorter side crosses and comes back."""
    _, height, width = shape
    scene, thing = texture(rng, *shape), texture(rng, *shape)
    radius = max(1.0, min(height, width) / 8)
    y, x = np.mgrid[:height, :width]

    def frame(number: int) -> np.ndarray:
        along = abs((number / CROSSING + 1) % 2 - 1)                   # 0 to 1 and back
        cy, cx = height * (0.5 + 0.2 * np.sin(number / 10)), along * (width - 1)
        cover = np.clip(radius + 0.5 - np.hypot(y - cy, x - cx), 0, 1)  # soft edge of a pixel
        return scene + cover * (shifted(thing, -cy, -cx) - scene)

    return frame


def panned(rng: np.random.Generator, shape: tuple[int, int, int]) -> Callable[[int], np.ndarray]:
    """Move the camera along a larger texture, one pixel a frame."""
    channels, height, width = shape
    scene = texture(rng, channels, MARGIN * height, MARGIN * width)
    return lambda number: shifted(scene, PAN[0] * number, PAN[1] * number)[:, :height, :width]


SCENES = {"fixed": fixed, "object": moving, "pan": panned}


def scene(name: str, config: ModelConfig, seed: int) -> Callable[[int], Tensor]:
    """Return the function from a frame's number to its uint8 image (C, height, width).

    ``image = round(clip(scene(number) + NOISE * normal(seed, number), 0, 255))``.
    """
    shape = (config.image_channels, config.image_height, config.image_width)
    show = SCENES[name](np.random.default_rng((seed, 0)), shape)

    def frame(number: int) -> Tensor:
        noise = np.random.default_rng((seed, 1, number)).normal(0, NOISE, shape)
        return torch.from_numpy(
            (show(number) + noise).clip(0, 255).round().astype(np.uint8))

    return frame
