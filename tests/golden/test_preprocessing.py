"""Pictures become what transformers' own image processors make of them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from deltamoe.api.importing import choices
from deltamoe.golden.importing.preprocessing import NAMED, Preprocessing, sized
from deltamoe.golden.importing.processors import processor, read_json

SHAPES = [(30, 41), (41, 30), (64, 64), (7, 90), (16, 16), (9, 11)]
EXACT = 1e-6
HALF_A_CODE = 0.5 / 255 / 0.224 + EXACT
"""What is filled up is the nearest of 256 codes."""


def picture(shape: tuple[int, int], mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def made(preprocessing: Preprocessing, image: Image.Image) -> torch.Tensor:
    pixels = preprocessing.pixels(image, 3)
    mean, std = (torch.tensor(getattr(preprocessing, part)).double()[:, None, None]
                 for part in ("mean", "std"))
    return (pixels.double() * preprocessing.scale - mean) / std


PROCESSORS = {
    "square": ("ViT", {"size": 16}),
    **{f"resample {number}": ("ViT", {"size": {"height": 12, "width": 20}, "resample": number})
       for number in range(6)},
    "another factor": ("ViT", {"size": 16, "rescale_factor": 1 / 127.5,
                               "image_mean": [1.0, 1.1, 0.9], "image_std": [1.0, 0.5, 2.0]}),
    "no factor": ("ViT", {"size": 16, "do_rescale": False}),
    "not normalized": ("ViT", {"size": 16, "do_normalize": False}),
    "middle": ("DeiT", {"size": {"height": 20, "width": 20}, "crop_size": 16}),
    "middle beyond": ("DeiT", {"size": {"height": 13, "width": 13}, "crop_size": 16}),
    "shorter side": ("Bit", {"size": {"shortest_edge": 20}, "crop_size": 16}),
    "clip": ("CLIP", {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}),
    "siglip": ("Siglip", {"size": {"height": 16, "width": 16}}),
    "a share of 0.8": ("ConvNext", {"size": {"shortest_edge": 16}, "crop_pct": 0.8}),
    "the usual share": ("ConvNext", {"size": {"shortest_edge": 16}}),
    "warped": ("ConvNext", {"size": {"shortest_edge": 384}}),
    "filled up": ("ViT", {"size": {"max_height": 16, "max_width": 24}, "do_pad": True,
                          "pad_size": {"height": 16, "width": 24},
                          "image_mean": [0.485, 0.456, 0.406],
                          "image_std": [0.229, 0.224, 0.225]}),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_picture_is_what_its_processor_makes(tmp_path: Path, name: str) -> None:
    kind, fields = PROCESSORS[name]
    theirs = getattr(transformers, f"{kind}ImageProcessorPil")(**fields)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    ours = processor(read_json(path), path)
    if len(ours.mean) == 1:
        ours = replace(ours, mean=ours.mean * 3, std=ours.std * 3)
    for shape in SHAPES:
        wanted = theirs(picture(shape), return_tensors="pt")["pixel_values"][0].double()
        error = (made(ours, picture(shape)) - wanted).abs().max()
        scale = max(1.0, float(wanted.abs().max()))
        assert float(error) < (HALF_A_CODE if name == "filled up" else EXACT * scale), shape


def test_a_lone_size_is_that_of_the_shorter_side_where_the_processor_takes_it_so() -> None:
    known = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 16}
    for kind, resize in (("ViT", (16, 16)), ("DeiT", (16, 16)), ("Bit", 16), ("CLIP", 16)):
        for suffix in ("ImageProcessor", "ImageProcessorFast", "FeatureExtractor"):
            field = "feature_extractor_type" if suffix == "FeatureExtractor" else (
                "image_processor_type")
            assert processor(known | {field: f"{kind}{suffix}"}, Path("p")).resize == resize


def test_what_timm_s_processor_of_transformers_says_is_read() -> None:
    fields = {"image_processor_type": "TimmWrapperImageProcessor", "pretrained_cfg": {
        "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop_pct": 0.9,
        "input_size": [3, 16, 16]}}
    assert processor(fields, Path("p")).resize == 17


@pytest.mark.parametrize(("fields", "words"), [
    ({"image_processor_type": "SamImageProcessor"}, "is for Sam's own processor, not one of ViT"),
    ({"do_convert_grayscale": True}, "do_convert_grayscale is not supported"),
    ({"do_thumbnail": True}, "do_thumbnail is not supported; allowed are resizing"),
    ({"keep_aspect_ratio": True}, "keep_aspect_ratio is not supported"),
    ({"do_pad": True, "pad_size": {"height": "x", "width": 3}}, "pad=('x', 3) is not in sides"),
    ({"size": {"longest_edge": 16}}, "field 'height' is missing"),
])
def test_what_a_processor_does_else_is_named(fields: dict, words: str) -> None:
    known = {"size": 8, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    with pytest.raises(ValueError, match=re.escape(words)):
        processor(known | fields, Path("p.json"))


@pytest.mark.parametrize("place", ["center", "corner"])
def test_all_of_a_picture_is_seen_and_filled_up(place: str) -> None:
    """In its own aspect, by hand: 40 by 10 in 16 by 16 is 16 by 4, six rows above or none."""
    ours = sized(NAMED["imagenet"], (16, 16), place=place)
    image = picture((10, 40))
    pixels = ours.pixels(image, 3).permute(1, 2, 0).numpy()
    top = 6 if place == "center" else 0
    assert (pixels[top : top + 4] == np.array(image.resize((16, 4), Image.BILINEAR))).all()
    rest = np.delete(pixels, slice(top, top + 4), 0)
    assert (rest == [124, 116, 104]).all()  # the mean, by 255
    assert (made(ours, image)[:, -1].abs() < HALF_A_CODE).all()
    gray = sized(NAMED["half"], (16, 16), place=place, color=(114,))
    assert (gray.pixels(image, 3)[:, -1] == 114).all()


def test_options_say_how_a_picture_is_seen() -> None:
    said = choices(mean="0.5", std="0.25", scale=0.004, order="BGR", interpolation="bicubic",
                   pad="corner", fill="1,2,3")
    assert said.preprocessing == Preprocessing(mean=(0.5,), std=(0.25,), scale=0.004, order="BGR",
                                               interpolation="bicubic")
    assert (said.pad, said.fill) == ("corner", (1, 2, 3))


@pytest.mark.parametrize(("options", "words"), [
    ({"scale": 0.1}, "--scale needs --preprocessing, or --mean and --std"),
    ({"mean": "0.5"}, "--std is missing"),
    ({"preprocessing": "half", "order": "GBR"}, "order='GBR' is not RGB or BGR"),
    ({"preprocessing": "half", "pad": "middle"}, "pad='middle' is not one of center, corner"),
    ({"preprocessing": "half", "fill": "a"}, "fill='a' is not one number for each channel"),
])
def test_options_that_say_nonsense_are_named(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        choices(**options)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"share": 0.9, "place": "center"}, "--crop-share and --pad both say"),
    ({"color": (3,)}, "--fill needs --pad"), ({"share": 1.5}, "a crop's share of 1.5 is not"),
    ({"place": "center", "color": (300,)}, "color=(300,) is not of numbers from 0 to 255"),
    ({"place": "center", "color": (0.5,)}, "color=(0.5,) is not of numbers from 0 to 255"),
])
def test_sizes_that_contradict_each_other_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        sized(NAMED["half"], (16, 16), **arguments)
    with pytest.raises(ValueError, match="says how a picture gets its size"):
        sized(replace(NAMED["half"], resize=(16, 16)), (16, 16), share=0.9)


def test_a_picture_that_is_too_long_takes_no_memory() -> None:
    """Its shorter side would grow from one pixel to the network's."""
    ours = sized(NAMED["half"], (224, 224))
    with pytest.raises(ValueError, match="a picture of 1x20000 is too long: resized, it has 224x"):
        ours.pixels(Image.new("RGB", (1, 20000)), 3)
