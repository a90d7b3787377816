"""Images as uint8 tensors (C, height, width)."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.data.picture import check_showable, opened, seen, upright_size
from deltamoe.golden.importing.preprocessing import Preprocessing

TEST_IMAGES = 360


def digits(part: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8) and digits (N,) of ``train`` or ``test``.

    The 1797 images of the UCI optical recognition set (Alpaydin and Kaynak, 1998) that
    scikit-learn bundles, in a fixed random order; the last 360 are the test set.
    """
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    chosen = order[:-TEST_IMAGES] if part == "train" else order[-TEST_IMAGES:]
    pixels = np.minimum(bunch.images[chosen] * 16, 255).astype(np.uint8)
    return torch.from_numpy(pixels)[:, None], torch.from_numpy(bunch.target[chosen])


def load_image(path: Path, config: ModelConfig, preprocessing: Preprocessing | None = None, *,
               fit: bool = False) -> Tensor:
    """Read an image of exactly the network's size, or of any if it is to be made to ``fit``.

    With a network's own ``preprocessing`` it may have any size, too.

    :mod:`deltamoe.golden.data.picture` says which files are read and how: upright, 8 bits, on
    black. Color is converted to the network's channels.

    Raises
    ------
    ValueError
        The file is no such image, is damaged, or has another size; or the network takes neither
        gray nor color.
    """
    with opened(path) as image:
        check_header(image, config, fit or preprocessing is not None)
        if preprocessing is not None:
            return preprocessing.pixels(seen(image), config.image_channels)
        return fitted(seen(image), config)


def check_image(path: Path, config: ModelConfig, preprocessing: Preprocessing | None = None, *,
                fit: bool = False) -> None:
    """Raise what :func:`load_image` would, as far as the file's header tells."""
    with opened(path) as image:
        check_header(image, config, fit or preprocessing is not None)


def check_header(image: Image.Image, config: ModelConfig, fit: bool) -> None:
    """Raise ValueError if a picture cannot be shown to the network."""
    check_channels(config)
    check_showable(image)
    width, height = upright_size(image)
    if not fit and (width, height) != (config.image_width, config.image_height):
        raise ValueError(f"image is {width}x{height}, {config.name} takes "
                         f"{config.image_width}x{config.image_height}")


def check_channels(config: ModelConfig) -> None:
    """Raise ValueError if the network takes neither gray nor color."""
    if config.image_channels not in {1, 3}:
        raise ValueError(f"files have 1 or 3 channels, {config.name} takes "
                         f"{config.image_channels}")


def fitted(image: Image.Image, config: ModelConfig, pixel_aspect: Fraction = Fraction(1)
           ) -> Tensor:
    """Cut the middle of the network's aspect, resize it, convert to gray or RGB.

    A side of a pixel that shrinks is averaged, one that grows is interpolated, both linearly.

    Parameters
    ----------
    image : Image
        Of mode ``L`` or ``RGB``.
    config : ModelConfig
        Size and channels of the result.
    pixel_aspect : Fraction
        Width of one of the image's pixels as shown, over its height.
    """
    width, height = image.size
    aspect = Fraction(config.image_width, config.image_height) / pixel_aspect
    cut_width, cut_height = (float(min(side)) for side in (
        (width, aspect * height), (height, width / aspect)))
    left, top = (width - cut_width) / 2, (height - cut_height) / 2
    shown = image.convert("L" if config.image_channels == 1 else "RGB").resize(
        (config.image_width, config.image_height), Image.Resampling.BILINEAR,
        (left, top, left + cut_width, top + cut_height))
    return torch.from_numpy(np.array(shown)).view(config.image_height, config.image_width, -1
                                                  ).permute(2, 0, 1).contiguous()


def pattern(config: ModelConfig, seed: int) -> Tensor:
    """Draw a test image: a gradient, bright discs of random place and size, sensor noise."""
    rng = np.random.default_rng(seed)
    height, width = config.image_height, config.image_width
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = np.empty((config.image_channels, height, width))
    for channel in image:
        channel[:] = 60 + 80 * x / width + 40 * y / height
    for _ in range(12):
        radius = rng.uniform(0.03, 0.2) * min(height, width)
        disc = (x - rng.uniform(0, width)) ** 2 + (y - rng.uniform(0, height)) ** 2 < radius**2
        image[:, disc] = rng.uniform(0, 255, (config.image_channels, 1))
    noisy = image + rng.normal(0, 4, image.shape)
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))
