"""What a network's own program does to a picture before the network sees it.

Resizing and cutting make pixels of 8 bits, which the accelerator takes; normalizing them is linear
and becomes a part of the patch embedding.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

INTERPOLATIONS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
"""Names of Pillow's filters, and their numbers there and in ``preprocessor_config.json``."""

PLACES = ("center", "corner")
"""Where a picture may lie in what it is filled up to."""

MOST_PIXELS = 1 << 26
"""Pixels of a picture that is resized, before its middle is cut out."""

PIXEL_SCALE = 1 / 256
"""What the float network multiplies a pixel by."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """From a picture to the numbers that a network takes.

    Attributes
    ----------
    mean, std : tuple of float
        By channel, or one for all: a scaled pixel less ``mean``, divided by ``std``.
    scale : float
        What a pixel of 0..255 is multiplied by before.
    order : str
        Channels as the network takes them, ``RGB`` or ``BGR``.
    resize : tuple of int or int, optional
        Height and width that a picture is resized to, or its shorter side; None: it is not.
    within : bool
        Height and width are not both reached: the picture keeps its aspect.
    crop : tuple of int, optional
        Height and width of the middle that is cut out then; what lies outside is black.
    interpolation : str
        One of :data:`INTERPOLATIONS`.
    pad : tuple of int, optional
        Height and width that a picture is then filled up to.
    place : str
        Where it lies there, ``center`` or ``corner``, that of its first pixel.
    color : tuple of int
        What it is filled up with, 0..255 by channel or one for all.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    order: str = "RGB"
    resize: tuple[int, int] | int | None = None
    within: bool = False
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    pad: tuple[int, int] | None = None
    place: str = "center"
    color: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if not (isinstance(values, tuple) and values and all(
                    type(value) is float and math.isfinite(value) for value in values)):
                raise ValueError(f"{name}={values!r} is not a number for each channel")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std={self.std} holds a number that is not above 0")
        if not (type(self.scale) is float and 0 < self.scale < math.inf):
            raise ValueError(f"scale={self.scale!r} is not a positive number")
        if self.order not in ("RGB", "BGR"):
            raise ValueError(f"order={self.order!r} is not RGB or BGR")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation={self.interpolation!r} is not one of "
                             f"{', '.join(INTERPOLATIONS)}")
        if self.place not in PLACES:
            raise ValueError(f"place={self.place!r} is not one of {', '.join(PLACES)}")
        if not (isinstance(self.color, tuple) and self.color and all(
                type(value) is int and 0 <= value <= 255 for value in self.color)):
            raise ValueError(f"color={self.color!r} is not of numbers from 0 to 255")
        if type(self.within) is not bool or (self.within and not isinstance(self.resize, tuple)):
            raise ValueError(f"within={self.within!r} needs height and width to resize to")
        for name in ("resize", "crop", "pad"):
            sides = getattr(self, name)
            sides = (sides, sides) if name == "resize" and type(sides) is int else sides
            if sides is not None and not (isinstance(sides, tuple) and len(sides) == 2 and all(
                    type(side) is int and 0 < side <= 8192 for side in sides)):
                raise ValueError(f"{name}={getattr(self, name)!r} is not in sides of 1 to 8192 "
                                 "pixels")

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of what comes out; None if that depends on the picture."""
        return self.pad or self.crop or (
            self.resize if isinstance(self.resize, tuple) and not self.within else None)

    def pixels(self, picture: Image.Image, channels: int) -> Tensor:
        """Return the pixels, uint8 (C, height, width), of a picture of mode ``L`` or ``RGB``.

        Raises
        ------
        ValueError
            The picture is so long that it would be too large, or larger than what it is filled up
            to.
        """
        picture = picture.convert("L" if channels == 1 else "RGB")
        if self.resize is not None:
            size = self.resized(*picture.size)
            if math.prod(size) > MOST_PIXELS:
                raise ValueError(f"a picture of {picture.size[0]}x{picture.size[1]} is too long: "
                                 f"resized, it has {size[0]}x{size[1]} pixels, more than "
                                 f"{MOST_PIXELS}")
            picture = picture.resize(size, Image.Resampling(INTERPOLATIONS[self.interpolation]))
        if self.crop is not None:
            top, left = ((side - cut) // 2 for side, cut in zip(
                picture.size[::-1], self.crop, strict=True))
            picture = picture.crop((left, top, left + self.crop[1], top + self.crop[0]))
        pixels = np.array(picture).reshape(*picture.size[::-1], -1)
        if self.order == "BGR":
            pixels = pixels[..., ::-1]
        if self.pad is not None:
            pixels = self._padded(pixels)
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _padded(self, pixels: np.ndarray) -> np.ndarray:
        """Fill pixels (height, width, C) up."""
        height, width, channels = pixels.shape
        missing = self.pad[0] - height, self.pad[1] - width
        if min(missing) < 0:
            raise ValueError(f"a picture of {width}x{height}, resized, is larger than the "
                             f"{self.pad[1]}x{self.pad[0]} that it is filled up to")
        top, left = (side // 2 if self.place == "center" else 0 for side in missing)
        filled = np.empty((*self.pad, channels), np.uint8)
        filled[:] = self.color
        filled[top : top + height, left : left + width] = pixels
        return filled

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of a picture after resizing."""
        if self.within:
            factor = min(self.resize[0] / height, self.resize[1] / width)
            return max(1, int(width * factor)), max(1, int(height * factor))
        if isinstance(self.resize, tuple):
            return self.resize[::-1]
        long = int(self.resize * max(width, height) / min(width, height))
        return (self.resize, long) if width <= height else (long, self.resize)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return a patch embedding (D, C, p, p) for pixels in 256ths of one for normalized ones.

        Raises
        ------
        ValueError
            The network has another number of channels.
        """
        channels = weight.shape[1]
        for name in ("mean", "std", "color"):
            if len(getattr(self, name)) not in {1, channels}:
                raise ValueError(f"{name}={getattr(self, name)} is not of {channels} channels, "
                                 "which the patch embedding has")
        mean, std = (torch.tensor(values).double().expand(channels)
                     for values in (self.mean, self.std))
        weight = weight.double() / std[:, None, None]
        shift = (weight * mean[:, None, None]).sum((1, 2, 3))
        return weight * (self.scale / PIXEL_SCALE), bias.double() - shift


NAMED = {
    "imagenet": Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "half": Preprocessing(mean=(0.5,), std=(0.5,)),
    "edge-moe": Preprocessing(mean=(0.0,), std=(1.0,), scale=PIXEL_SCALE),
}
"""Normalizations by name; none of them says how a picture gets its size."""


def sized(preprocessing: Preprocessing, size: tuple[int, int], *, share: float | None = None,
          place: str | None = None, color: tuple[int, ...] | None = None) -> Preprocessing:
    """Return a preprocessing whose pictures get a network's ``size``, height and width.

    The shorter side is resized so that the network sees ``share`` of it, and the middle is cut
    out. Where the network takes no square, the picture is only resized. With a ``place``, all of
    the picture is seen, filled up with a ``color``, or with that which normalizing makes zero.

    Raises
    ------
    ValueError
        It says already how a picture gets its size.
    """
    if preprocessing.size is not None or preprocessing.resize is not None:
        if share is not None or place is not None:
            raise ValueError("its preprocessing says how a picture gets its size; leave out "
                             "--crop-share, --pad and --fill")
        return preprocessing
    if place is not None:
        if share is not None:
            raise ValueError("--crop-share and --pad both say how a picture gets its size; say one")
        return replace(preprocessing, resize=size, within=True, pad=size, place=place,
                       color=color or zero_color(preprocessing))
    if color is not None:
        raise ValueError("--fill needs --pad, which says where a picture lies")
    share = 1.0 if share is None else share
    if not 0 < share <= 1:
        raise ValueError(f"a crop's share of {share:g} is not above 0 and at most 1")
    if size[0] != size[1]:
        return replace(preprocessing, resize=size)
    return replace(preprocessing, resize=math.floor(size[0] / share), crop=size)


def zero_color(preprocessing: Preprocessing) -> tuple[int, ...]:
    """Return the pixel whose normalized numbers are nearest to zero."""
    return tuple(min(255, max(0, round(mean / preprocessing.scale)))
                 for mean in preprocessing.mean)
