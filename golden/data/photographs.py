"""Photographs that packages bring along which are needed anyway, and crops of them."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from deltamoe.golden.data.picture import opened, seen

PHOTOGRAPHS = {"china": ("sklearn.datasets.images", "china.jpg"),
               "flower": ("sklearn.datasets.images", "flower.jpg"),
               "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")}
"""By name, the package and the path in it: two of scikit-learn, one of Matplotlib."""

ASPECTS = (1, 4 / 3, 3 / 2, 2 / 3)
"""Width over height of crops: what a camera makes, lying and upright, and a square."""

SMALLEST = 0.35
"""Least side of a crop, of the largest with its aspect."""


def photographs() -> dict[str, Path]:
    """Return the photographs' files by name.

    Raises
    ------
    FileNotFoundError
        A package lacks its own; names it.
    """
    found = {name: Path(str(files(package).joinpath(inside)))
             for name, (package, inside) in PHOTOGRAPHS.items()}
    for path in found.values():
        if not path.is_file():
            raise FileNotFoundError(f"{path}, a photograph of an installed package, is missing")
    return found


def others(judged: Path) -> dict[str, Path]:
    """Return the photographs whose files have another content than ``judged``."""
    content = judged.read_bytes()
    return {name: path for name, path in photographs().items() if path.read_bytes() != content}


def crops(sources: Mapping[str, Path], count: int, seed: int) -> dict[str, Image.Image]:
    """Return ``count`` crops by name, of all photographs in turn.

    Place, aspect (of :data:`ASPECTS`) and size (from :data:`SMALLEST` of the largest that fits to
    all of it) are drawn at random, the same ones for the same ``seed``.
    """
    rng = np.random.default_rng(seed)
    pictures = {}
    for name, path in sources.items():
        with opened(path) as picture:
            pictures[name] = seen(picture)
    drawn = {}
    for index in range(count):
        name = list(pictures)[index % len(pictures)]
        width, height = pictures[name].size
        aspect = rng.choice(ASPECTS)
        tall = rng.uniform(SMALLEST, 1) * min(height, width / aspect)
        wide = tall * aspect
        left, top = rng.uniform(0, width - wide), rng.uniform(0, height - tall)
        drawn[f"{index:02}-{name}"] = pictures[name].crop(
            tuple(map(int, (left, top, left + wide, top + tall))))
    return drawn
