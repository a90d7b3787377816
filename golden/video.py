"""Frames of a video as uint8 tensors (C, height, width): generated, a folder's, a video file's."""

from collections.abc import Iterator
from itertools import count as naturals
from itertools import islice
from pathlib import Path

import av
from PIL import Image
from torch import Tensor

from golden.config import ModelConfig
from golden.images import fitted, load_image
from golden.scenes import SCENES, scene

Pixels = Tensor
"""A frame: uint8 (C, height, width)."""

GENERATOR = "generator:"

SLACK = 0.2
"""Seconds by which a whole file's last packet may miss the length that its header states."""


def frames(source: str, config: ModelConfig, count: int | None = None, seed: int = 0
           ) -> Iterator[Tensor]:
    """Return the frames of ``source``, at most ``count`` of them.

    Parameters
    ----------
    source : str
        ``generator:`` and a scene of :data:`golden.scenes.SCENES`, which never ends; a folder,
        whose images are taken in name order; or a video file. What is not generated loses the
        sides that exceed the network's aspect, and is resized to it.
    config : ModelConfig
        Size and channels of a frame.
    count : int, optional
        All if left out.
    seed : int
        Of a generator, at least 0.

    Raises
    ------
    ValueError
        There is no such source, it holds no frame, or, where the frames come to it, a file cannot
        be read to its end.
    """
    if count is not None and count < 1:
        raise ValueError(f"count={count} is not at least 1")
    if source.startswith(GENERATOR):
        return islice(generated(source, config, seed), count)
    if config.image_channels not in {1, 3}:
        raise ValueError(f"{source}: files have 1 or 3 channels, {config.name} takes "
                         f"{config.image_channels}; it can be shown {GENERATOR}... only")
    path = Path(source)
    if path.is_dir():
        return islice(folder(path, config), count)
    if path.is_file():
        return islice(filed(path, config), count)
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


def folder(path: Path, config: ModelConfig) -> Iterator[Tensor]:
    """Return the frames of a folder; files without an image's suffix are no frames."""
    suffixes = Image.registered_extensions()
    names = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
    if not names:
        raise ValueError(f"{path}: the folder holds no image, such as a .png or .jpg file")
    return (load_image(file, config, fit=True) for file in names)


def filed(path: Path, config: ModelConfig) -> Iterator[Tensor]:
    """Return the frames of the first video stream of a file."""
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: not a whole video file ({error.strerror})") from None
    if not container.streams.video:
        container.close()
        raise ValueError(f"{path}: the file has no video stream")
    return decoded(path, container, config)


def decoded(path: Path, container: av.container.InputContainer, config: ModelConfig
            ) -> Iterator[Tensor]:
    """Decode frame by frame, and close the file.

    A cut file rarely fails to decode. Its last packet is short, or the packets, of all streams,
    end before the length in the header.
    """
    number, end = 0, 0.0
    with container:
        try:
            for packet in container.demux():
                if packet.is_corrupt:
                    raise ValueError(f"{path}: the file is damaged or cut behind frame {number}")
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream == container.streams.video[0]:
                    for frame in packet.decode():
                        number += 1
                        yield fitted(frame.to_image(), config)
        except av.error.FFmpegError as error:
            raise ValueError(f"{path}: the file is damaged or cut behind frame {number} "
                             f"({error.strerror})") from None
        start, length = ((value or 0) / av.time_base
                         for value in (container.start_time, container.duration))
        if not number or end < start + length - SLACK:
            raise ValueError(f"{path}: the file is cut behind frame {number}: it has "
                             f"{end - start:.2f} of {length:.2f} seconds")
