"""What a network's own program does to a picture before the network sees it.

Resizing and cutting make pixels of 8 bits, which the accelerator takes; normalizing them is linear
and becomes a part of the patch embedding.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

INTERPOLATIONS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
"""Names of Pillow's filters, and their numbers there and in ``preprocessor_config.json``."""

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
    crop : tuple of int, optional
        Height and width of the middle that is cut out then; what lies outside is black.
    interpolation : str
        One of :data:`INTERPOLATIONS`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1 / 255
    order: str = "RGB"
    resize: tuple[int, int] | int | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"

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
        for name in ("resize", "crop"):
            sides = getattr(self, name)
            sides = (sides, sides) if name == "resize" and type(sides) is int else sides
            if sides is not None and not (isinstance(sides, tuple) and len(sides) == 2 and all(
                    type(side) is int and 0 < side <= 8192 for side in sides)):
                raise ValueError(f"{name}={getattr(self, name)!r} is not in sides of 1 to 8192 "
                                 "pixels")

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of what comes out; None if that depends on the picture."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else None)

    def pixels(self, picture: Image.Image, channels: int) -> Tensor:
        """Return the pixels, uint8 (C, height, width), of a picture of mode ``L`` or ``RGB``."""
        picture = picture.convert("L" if channels == 1 else "RGB")
        if self.resize is not None:
            picture = picture.resize(self.resized(*picture.size),
                                     Image.Resampling(INTERPOLATIONS[self.interpolation]))
        if self.crop is not None:
            top, left = ((side - cut) // 2 for side, cut in zip(
                picture.size[::-1], self.crop, strict=True))
            picture = picture.crop((left, top, left + self.crop[1], top + self.crop[0]))
        pixels = np.array(picture).reshape(*picture.size[::-1], -1)
        if self.order == "BGR":
            pixels = pixels[..., ::-1]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of a picture after resizing."""
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
        for name in ("mean", "std"):
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


def sized(preprocessing: Preprocessing, size: tuple[int, int], share: float = 1.0) -> Preprocessing:
    """Return a preprocessing whose pictures get a network's ``size``, height and width.

    The shorter side is resized so that the network sees ``share`` of it, and the middle is cut
    out. Where the network takes no square, the picture is only resized.
    """
    if preprocessing.resize is not None or preprocessing.crop is not None:
        return preprocessing
    if not 0 < share <= 1:
        raise ValueError(f"a crop's share of {share:g} is not above 0 and at most 1")
    if size[0] != size[1]:
        return replace(preprocessing, resize=size)
    return replace(preprocessing, resize=math.floor(size[0] / share), crop=size)


def processor(fields: Mapping[str, Any], path: Path) -> Preprocessing:
    """Return what transformers' ``preprocessor_config.json`` says.

    Raises
    ------
    ValueError
        It does something else to a picture; names the field.
    """
    for name in ("do_pad", "do_thumbnail", "do_align_long_axis"):
        if fields.get(name):
            raise ValueError(f"{path}: {name} is not supported; allowed are resizing, cutting out "
                             "the middle, scaling and normalizing")
    try:
        normalized = fields.get("do_normalize", True)
        mean, std = ((fields["image_mean"], fields["image_std"]) if normalized else (0.0, 1.0))
        scale = fields.get("rescale_factor", 1 / 255) if fields.get("do_rescale", True) else 1
        crop = fields.get("do_center_crop", False)
        return Preprocessing(
            mean=_numbers(mean), std=_numbers(std), scale=float(scale),
            order="BGR" if fields.get("do_flip_channel_order") else "RGB",
            resize=_resize(fields["size"]) if fields.get("do_resize", True) else None,
            crop=_sides(fields["crop_size"]) if crop else None,
            interpolation=_interpolation(fields.get("resample", 2)))
    except KeyError as error:
        raise ValueError(f"{path}: field {error} is missing") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} says no preprocessing that is understood: {error}") from None


def pretrained(fields: Mapping[str, Any], path: Path) -> Preprocessing:
    """Return what timm's ``config.json`` says in its ``pretrained_cfg``.

    Raises
    ------
    ValueError
        A field is missing or has no such meaning; names it.
    """
    try:
        _, height, width = fields["input_size"]
        if fields.get("crop_mode", "center") != "center" and fields.get("crop_pct", 1) != 1:
            raise ValueError(f"crop_mode {fields['crop_mode']!r} is not center")
        preprocessing = Preprocessing(mean=_numbers(fields["mean"]), std=_numbers(fields["std"]),
                                      interpolation=_interpolation(fields["interpolation"]))
        return sized(preprocessing, (height, width), float(fields.get("crop_pct") or 1))
    except KeyError as error:
        raise ValueError(f"{path}: field {error} is missing") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} says no preprocessing that is understood: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of a JSON file.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        fields = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path} holds {type(fields).__name__}, not an object")
    return fields


def _numbers(values: float | list) -> tuple[float, ...]:
    return tuple(float(value) for value in (values if isinstance(values, list) else [values]))


def _sides(size: Mapping | int) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size["height"], size["width"])


def _resize(size: Mapping | int) -> tuple[int, int] | int:
    if isinstance(size, dict) and size.keys() == {"shortest_edge"}:
        return size["shortest_edge"]
    return _sides(size)


def _interpolation(value: int | str) -> str:
    names = {number: name for name, number in INTERPOLATIONS.items()}
    if value not in names and value not in INTERPOLATIONS:
        raise ValueError(f"interpolation {value!r} is not one of {', '.join(INTERPOLATIONS)}")
    return names.get(value, value)
