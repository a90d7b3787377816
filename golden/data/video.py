"""Frames of a video as uint8 tensors (C, height, width): generated, a folder's, a video file's."""

from collections.abc import Callable, Iterator
from itertools import count as naturals
from itertools import islice
from pathlib import Path

from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.data.folder import files_of
from deltamoe.golden.data.images import check_channels, check_image, fitted, load_image
from deltamoe.golden.data.picture import SUFFIXES, opened, pictures
from deltamoe.golden.data.scenes import SCENES, scene
from deltamoe.golden.data.video_file import check_whole
from deltamoe.golden.data.video_file import frames as decoded

Pixels = Tensor
"""A frame: uint8 (C, height, width)."""

GENERATOR = "generator:"

def frames(source: str, config: ModelConfig, count: int | None = None, seed: int = 0
           ) -> Iterator[Tensor]:
    """Return the frames of ``source``, at most ``count`` of them.

    Parameters
    ----------
    source : str
        ``generator:`` and a scene of :data:`deltamoe.golden.data.scenes.SCENES`, which never ends;
        a folder, whose images are taken in the order of their names, numbers by value; a video
        file; or an image file, whose pictures are the frames. :mod:`deltamoe.golden.data.picture`
        and :mod:`deltamoe.golden.data.video_file` say how files are read: upright, 8 bits, on
        black. What is not generated loses the sides that exceed the network's aspect, and is
        resized to it.
    config : ModelConfig
        Size and channels of a frame.
    count : int, optional
        All if left out.
    seed : int
        Of a generator, at least 0.

    Raises
    ------
    ValueError
        There is no such source, it holds no frame, it is cut, or one of the wanted frames cannot
        be read. All of this is known before the first frame is returned.
    """
    if count is not None and count < 1:
        raise ValueError(f"count={count} is not at least 1")
    if source.startswith(GENERATOR):
        return islice(generated(source, config, seed), count)
    check_channels(config)
    path = Path(source)
    if path.is_dir():
        return folder(path, config, count)
    if path.is_file():
        return file(path, config, count)
    raise ValueError(f"source {source!r} is neither a folder of images nor a video file nor one "
                     f"of {', '.join(GENERATOR + name for name in SCENES)}")


def generated(source: str, config: ModelConfig, seed: int) -> Iterator[Tensor]:
    """Return the endless frames of a generator."""
    name = source.removeprefix(GENERATOR)
    if name not in SCENES:
        raise ValueError(f"source {source!r} is not one of "
                         f"{', '.join(GENERATOR + known for known in SCENES)}")
    if seed < 0:
        raise ValueError(f"seed={seed} is negative")
    return map(scene(name, config, seed), naturals())


def folder(path: Path, config: ModelConfig, count: int | None) -> Iterator[Tensor]:
    """Return the frames of a folder's images."""
    files = files_of(path)
    for file in files:
        check_image(file, config, fit=True)
    return checked(lambda: (load_image(file, config, fit=True) for file in files), count)


def file(path: Path, config: ModelConfig, count: int | None) -> Iterator[Tensor]:
    """Return the frames of a video file, or of an image file with any number of pictures."""
    if path.suffix.lower() in SUFFIXES:
        return checked(lambda: animated(path, config), count)
    check_whole(path)
    return checked(lambda: (fitted(frame.image, config, frame.pixel_aspect)
                            for frame in decoded(path)), count)


def animated(path: Path, config: ModelConfig) -> Iterator[Tensor]:
    """Return the pictures of an image file."""
    with opened(path) as image:
        for picture in pictures(image):
            yield fitted(picture, config)


def checked(read: Callable[[], Iterator[Tensor]], count: int | None) -> Iterator[Tensor]:
    """Read ``count`` frames, or all, once for their errors alone; then return them one by one.

    Frames are not kept, since there may be many.
    """
    for _ in islice(read(), count):
        pass
    return islice(read(), count)
