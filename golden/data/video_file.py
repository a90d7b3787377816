"""A video file's frames as they are meant to be seen: upright, 8 bits a channel, on black.

Frames are turned and mirrored as the file's display matrix says, and as wide as its pixels are.
Range (limited or full) and matrix of YUV are those that the stream states; if it states none, they
are limited and BT.601. Of more than 8 bits the highest 8 are taken, without tone mapping; a color
is multiplied by its alpha. Each stored frame is one frame, however long it is shown.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.reformatter import ColorRange, Interpolation
from PIL import Image

from deltamoe.golden.data.container import bytes_missing
from deltamoe.golden.data.picture import on_black

ROUNDED = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Flags with which FFmpeg's white is 255; its faster ways give 253 for 10 bits."""

SLACK = 0.2
"""Seconds by which a whole file's last packet may miss the length that its header states."""

TIMED, COUNTED = {"flv"}, {"ivf"}
"""Containers whose header states no size but the time of all packets, or their number."""

NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders of the alpha that WebM stores beside a frame; FFmpeg's own ones pass it over."""


class Frame(NamedTuple):
    """A picture in mode ``L`` or ``RGB``, and the width of one of its pixels over its height."""

    image: Image.Image
    pixel_aspect: Fraction


def check_whole(path: Path) -> None:
    """Read all packets of a file, decode none, and check that nothing is missing.

    A cut file has a packet that is cut, lacks bytes (:mod:`deltamoe.golden.data.container`), or its
    packets are fewer, or end earlier, than its header states. No sum of durations is asked: a whole
    file may start late, hold frames of any or of no duration, and streams of other lengths.

    Raises
    ------
    ValueError
        The file is no video, is damaged, or is cut.
    """
    number, end, seconds = 0, 0, 0.0
    with opened(path) as (container, stream):
        for packet in container.demux():
            if packet.is_corrupt:
                raise ValueError(f"the file is damaged or cut behind frame {number}")
            number += packet.stream == stream and packet.size > 0
            end = max(end, (packet.pos or 0) + packet.size)
            if packet.pts is not None:
                seconds = max(seconds, float(
                    (packet.pts + (packet.duration or 0)) * packet.time_base))
        kind = container.format.name
        if lacking := bytes_missing(path, kind, end):
            raise ValueError(f"the file is cut: it lacks at least {lacking:,} bytes")
        if kind in COUNTED and number < stream.frames:
            raise ValueError(f"the file is cut: it has {number} of {stream.frames} frames")
        start, length = ((value or 0) / av.time_base
                         for value in (container.start_time, container.duration))
        if kind in TIMED and seconds < start + length - SLACK:
            raise ValueError(f"the file is cut behind frame {number}: it has "
                             f"{seconds - start:.2f} of {length:.2f} seconds")
        if not number:
            raise ValueError("the file has no frame")


def frames(path: Path) -> Iterator[Frame]:
    """Decode frame by frame.

    Raises
    ------
    ValueError
        The file is no video or is damaged, or a frame cannot be shown.
    """
    number = 0
    with opened(path) as (container, stream):
        decoder = decoder_of(stream)
        for packet in container.demux(stream):
            for frame in decoder.decode(packet if packet.size else None):
                if frame.is_corrupt:
                    raise ValueError(f"frame {number} is damaged")
                if decoder is not stream.codec_context and not has_alpha(frame):
                    raise ValueError("the alpha of its frames cannot be read")
                yield Frame(upright(frame, picture(frame)), pixel_aspect(frame, stream))
                number += 1
    if not number:
        raise ValueError(f"{path}: no frame can be decoded")


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file and choose its video stream; whatever goes wrong names the file.

    Pictures of a cover and thumbnails are no videos. Of several videos it is the one that the file
    marks as its default.

    Raises
    ------
    ValueError
        There is no video, or none or more than one of several is the default.
    """
    try:
        with av.open(f"file:{path}") as container:
            kind = container.format.name
            if kind == "image2" or kind.endswith("_pipe"):
                raise ValueError("neither a video nor an image file with its usual suffix")
            streams = [stream for stream in container.streams.video
                       if not stream.disposition & NO_VIDEO]
            if not streams:
                raise ValueError("the file has no video stream")
            if len(streams) > 1:
                count = len(streams)
                streams = [stream for stream in streams
                           if stream.disposition & Disposition.default]
                if len(streams) != 1:
                    raise ValueError(f"the file has {count} video streams, of which {len(streams)} "
                                     "are its default; save one alone")
            yield container, streams[0]
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: not a whole video file ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def decoder_of(stream: av.VideoStream) -> av.VideoCodecContext:
    """Return the stream's decoder, or another one for frames with alpha beside them.

    A decoder that would patch up what is damaged raises an error instead.
    """
    stream.codec_context.options = {"err_detect": "explode"}
    name = ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    return av.CodecContext.create(name, "r")


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether a frame, or its palette, has alpha."""
    return frame.format.has_palette or any(part.is_alpha for part in frame.format.components)


def picture(frame: av.VideoFrame) -> Image.Image:
    """Return a frame, as it is stored, in 8 bits on black."""
    kind = frame.format.name
    if "f32" in kind or "f16" in kind:
        raise ValueError(f"floating-point pixels ({kind}) have no certain meaning in 8 bits")
    rgb = frame.reformat(format="rgba" if has_alpha(frame) else "rgb24", interpolation=ROUNDED,
                         threads=1).to_ndarray()
    if kind.startswith(("gray", "ya")) and frame.color_range == ColorRange.MPEG:
        # FFmpeg takes all gray for full range.
        color = (rgb[..., :3].astype(np.float64) - 16) * (255 / 219)
        rgb[..., :3] = color.round().clip(0, 255)
    return on_black(Image.fromarray(rgb))


def upright(frame: av.VideoFrame, image: Image.Image) -> Image.Image:
    """Turn and mirror a picture by its frame's display matrix.

    A stored pixel at ``(p, q)``, right and down, is shown at ``(a p + c q, b p + d q)``; the
    matrix's first two rows are ``a b u`` and ``c d v``.

    Raises
    ------
    ValueError
        The matrix turns by no multiple of 90 degrees.
    """
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return image
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    stored = np.asarray(image)
    if not (b or c) and a and d:
        right, down = a, d
    elif not (a or d) and b and c:
        stored, right, down = stored.swapaxes(0, 1), c, b
    else:
        raise ValueError("its frames are turned by no multiple of 90 degrees")
    return Image.fromarray(np.ascontiguousarray(
        stored[::1 if down > 0 else -1, ::1 if right > 0 else -1]))


def pixel_aspect(frame: av.VideoFrame, stream: av.VideoStream) -> Fraction:
    """Return the width of a pixel as shown over its height; 1 if the file states none."""
    stated = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    turned = matrix is not None and struct.unpack("=i", bytes(matrix)[:4])[0] == 0
    return 1 / stated if turned else stated

