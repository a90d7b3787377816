"""Images as uint8 tensors (C, height, width)."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.datasets import load_digits
from torch import Tensor

from golden.config import ModelConfig

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


def load_image(path: Path, config: ModelConfig, *, fit: bool = False) -> Tensor:
    """Read an image of exactly the network's size, or of any if it is to be made to ``fit``.

    Color is converted to the network's channels.

    Raises
    ------
    ValueError
        The file is no image, or has another size.
    """
    try:
        with Image.open(path) as image:
            if not fit and image.size != (config.image_width, config.image_height):
                raise ValueError(f"{path}: image is {image.width}x{image.height}, {config.name} "
                                 f"takes {config.image_width}x{config.image_height}")
            return fitted(image, config)
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not an image file") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None


def fitted(image: Image.Image, config: ModelConfig) -> Tensor:
    """Cut the middle of the network's aspect, resize it, convert to gray or RGB.

    A side of a pixel that shrinks is averaged, one that grows is interpolated, both linearly.
    """
    shown = ImageOps.fit(image.convert("L" if config.image_channels == 1 else "RGB"),
                         (config.image_width, config.image_height), Image.Resampling.BILINEAR)
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
