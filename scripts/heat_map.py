"""A map that a network draws of a photograph: computed in two ways, and how far these are apart."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from deltamoe.golden.importing.preprocessing import Preprocessing

LONGEST = 3
"""Longer side over the shorter one that a panel follows; beyond, there is white around it."""


def shown_part(made: np.ndarray, photograph: Image.Image, preprocessing: Preprocessing
               ) -> np.ndarray:
    """Return the part of a map (height, width) where the photograph lies.

    Where a picture is filled up to the network's size, that is less than all of the map.
    """
    if preprocessing.pad is None:
        return made
    width, height = preprocessing.resized(*photograph.size)
    parts = []
    for side, whole, count in zip((height, width), preprocessing.pad, made.shape, strict=True):
        first = (whole - side) // 2 if preprocessing.place == "center" else 0
        begin = first * count // whole
        parts.append(slice(begin, max(begin + 1, (first + side) * count // whole)))
    return made[tuple(parts)]


def heat_maps(photograph: Image.Image, real: np.ndarray, made: np.ndarray) -> Figure:
    """Draw a photograph, its map in floating point, the accelerator's, and their difference.

    ``real`` and ``made`` are (height, width), of the photograph's aspect.
    """
    width, height = photograph.size
    tall = min(max(height / width, 1 / LONGEST), LONGEST)
    figure = Figure(figsize=(10, 9.4 * tall + 0.6), layout="constrained")
    picture, *maps = figure.subplots(2, 2).flat
    picture.imshow(photograph.convert("RGB"))
    picture.set_title("photograph")
    low, high = (float(limit) for limit in (min(real.min(), made.min()),
                                            max(real.max(), made.max())))
    apart = made - real
    most = float(np.abs(apart).max()) or 1.0
    for axes, values, title, limits, colors in zip(
            maps, (real, made, apart),
            ("floating point", "accelerator",
             f"accelerator less floating point: {np.abs(apart).mean():.4f} on average"),
            ((low, high), (low, high), (-most, most)), ("inferno", "inferno", "RdBu_r"),
            strict=True):
        drawn = axes.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1],
                            extent=(0, width, height, 0))
        axes.set_title(title)
        figure.colorbar(drawn, ax=axes, shrink=0.8)
    for axes in (picture, *maps):
        axes.set_xticks([])
        axes.set_yticks([])
    return figure
