"""What files of other programs say of preprocessing: of transformers' processors, and of timm."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deltamoe.golden.importing.preprocessing import (
    INTERPOLATIONS,
    Preprocessing,
    sized,
    zero_color,
)

DONE = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order",
        "do_convert_rgb", "do_pad"}
"""What transformers' processors do that is done here."""

ALLOWED = ("allowed are resizing, cutting out the middle, padding to a size, scaling and "
           "normalizing")

SHORTER = {"ViT": False, "DeiT": False, "Beit": False, "Pvt": False, "Blip": False,
           "Bit": True, "CLIP": True, "ChineseCLIP": True, "Siglip": True, "ConvNext": True}
"""Transformers' processors that do no more, and whether a lone size is that of the shorter side."""

WARPED = 384
"""Side from which on ConvNext's processor does not cut."""


def processor(fields: Mapping[str, Any], path: Path) -> Preprocessing:
    """Return what transformers' ``preprocessor_config.json`` says.

    Raises
    ------
    ValueError
        It does something else to a picture; names the field.
    """
    if "pretrained_cfg" in fields:
        return pretrained(fields["pretrained_cfg"], path)
    for name, value in fields.items():
        if value and name not in DONE and (name.startswith("do_") or name in {
                "keep_aspect_ratio", "rescale_offset", "size_divisor"}) and (
                name != "do_reduce_labels"):
            raise ValueError(f"{path}: {name} is not supported; {ALLOWED}")
    kind = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", str(
        fields.get("image_processor_type") or fields.get("feature_extractor_type") or "ViT"))
    if kind not in SHORTER:
        raise ValueError(f"{path} is for {kind}'s own processor, not one of {', '.join(SHORTER)}; "
                         "say --mean and --std instead, and how a picture gets its size")
    try:
        mean, std = ((fields["image_mean"], fields["image_std"])
                     if fields.get("do_normalize", True) else (0.0, 1.0))
        scale = fields.get("rescale_factor", 1 / 255) if fields.get("do_rescale", True) else 1
        preprocessing = Preprocessing(
            mean=_numbers(mean), std=_numbers(std), scale=float(scale),
            order="BGR" if fields.get("do_flip_channel_order") else "RGB",
            interpolation=_interpolation(fields.get("resample", 2)))
        if fields.get("do_resize", True):
            preprocessing = _resize(preprocessing, fields["size"], kind, fields)
        if fields.get("do_center_crop", False):
            preprocessing = replace(preprocessing, crop=_sides(fields["crop_size"]))
        if fields.get("do_pad") and fields.get("pad_size"):
            preprocessing = replace(preprocessing, pad=_sides(fields["pad_size"]), place="corner",
                                    color=zero_color(preprocessing))
    except KeyError as error:
        raise ValueError(f"{path}: field {error} is missing") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} says no preprocessing that is understood: {error}") from None
    return preprocessing


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
        return sized(preprocessing, (height, width), share=float(fields.get("crop_pct") or 1))
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


def _resize(preprocessing: Preprocessing, size: Mapping | int, kind: str, fields: Mapping[str, Any]
            ) -> Preprocessing:
    """Add what a processor's ``size`` says."""
    if isinstance(size, int) and SHORTER[kind]:
        size = {"shortest_edge": size}
    if isinstance(size, int):
        return replace(preprocessing, resize=(size, size))
    known = {name: side for name, side in size.items() if side is not None}
    if known.keys() == {"max_height", "max_width"}:
        return replace(preprocessing, resize=(known["max_height"], known["max_width"]), within=True)
    if known.keys() != {"shortest_edge"}:
        return replace(preprocessing, resize=(known["height"], known["width"]))
    side = known["shortest_edge"]
    if kind != "ConvNext":
        return replace(preprocessing, resize=side)
    if side >= WARPED:
        return replace(preprocessing, resize=(side, side))
    return replace(preprocessing, resize=int(side / fields.get("crop_pct", 224 / 256)),
                   crop=(side, side))


def _interpolation(value: int | str) -> str:
    names = {number: name for name, number in INTERPOLATIONS.items()}
    if value not in names and value not in INTERPOLATIONS:
        raise ValueError(f"interpolation {value!r} is not one of {', '.join(INTERPOLATIONS)}")
    return names.get(value, value)
