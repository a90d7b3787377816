"""Video files: upright, 8 bits, on black, whole; by pictures that are known."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from deltamoe.golden.config import MODELS
from deltamoe.golden.data.container import MXF_KEY, blocks_missing, box, chunk, element, triplet
from deltamoe.golden.data.video import frames
from deltamoe.golden.data.video_file import check_whole
from deltamoe.golden.data.video_file import frames as decoded

WIDE = replace(MODELS["digits"], name="wide", image_height=32, image_width=48, patch_size=4,
               image_channels=3)

BLOCKS = np.kron(np.array([[[200, 30, 60], [20, 220, 90], [240, 240, 240]],
                           [[10, 10, 10], [30, 60, 250], [250, 200, 20]]]),
                 np.ones((16, 16, 1))).astype(np.uint8)
"""A picture (32, 48, 3) of six blocks without symmetry; chroma is even at their edges."""

MATRICES = {
    "turned left": ((90,), lambda a: np.rot90(a, 1)),
    "turned right": ((-90,), lambda a: np.rot90(a, -1)),
    "upside down": ((180,), lambda a: np.rot90(a, 2)),
    "mirrored": ((0, True), lambda a: a[:, ::-1]),
    "flipped": ((0, False, True), lambda a: a[::-1]),
    "turned left, mirrored": ((90, True), lambda a: np.rot90(a, 1)[:, ::-1]),
    "turned right, mirrored": ((-90, True), lambda a: np.rot90(a, -1)[:, ::-1]),
    "upright": ((0,), lambda a: a)}


def write(path: Path, codec: str, pixel: str, shown: list[np.ndarray], *, times=None,
          prepare: Callable = lambda stream: None, rate: int = 10, options: dict | None = None,
          tags: dict | None = None, coding: dict | None = None, sound: float = 0) -> Path:
    """Write RGB or RGBA pictures, or planes that are a frame already."""
    with av.open(str(path), "w", options=options or {}) as container:
        first = shown[0]
        stream = container.add_stream(codec, rate=rate, options=coding or {})
        stream.height, stream.width = (first.height, first.width) if isinstance(
            first, av.VideoFrame) else first.shape[:2]
        stream.pix_fmt = pixel
        prepare(stream)
        voice = container.add_stream("pcm_s16le", rate=8000, layout="mono") if sound else None
        for number, picture in enumerate(shown):
            frame = picture
            if not isinstance(picture, av.VideoFrame):
                kind = "rgba" if picture.shape[-1] == 4 else "rgb24"
                frame = av.VideoFrame.from_ndarray(picture, format=kind).reformat(format=pixel)
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate)
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if voice:
            samples = av.AudioFrame.from_ndarray(
                np.zeros((1, int(8000 * sound)), np.int16), layout="mono")
            samples.sample_rate = 8000
            container.mux(voice.encode(samples))
    return path


def read(path: Path) -> list[np.ndarray]:
    return [np.asarray(frame.image) for frame in decoded(path)]


def error(pixels: np.ndarray, right: np.ndarray) -> float:
    assert pixels.shape == right.shape
    return float(np.abs(pixels.astype(int) - right).mean())


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_frames_are_turned_as_their_matrix_says(tmp_path: Path, suffix: str, name: str) -> None:
    angle, turned = MATRICES[name]
    path = write(tmp_path / f"a.{suffix}", "ffv1" if suffix == "mkv" else "mpeg4", "yuv420p",
                 [BLOCKS] * 3, prepare=lambda stream: stream.set_display_rotation(*angle))
    for frame in read(path):
        assert error(frame, turned(BLOCKS)) < 8


def test_frames_at_an_angle_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mpeg4", "yuv420p", [BLOCKS],
                 prepare=lambda stream: stream.set_display_rotation(30))
    with pytest.raises(ValueError, match=r"a\.mp4: its frames are turned by no multiple of 90"):
        frames(str(path), WIDE)


@pytest.mark.parametrize("turn", [0, 90])
def test_pixels_are_as_wide_as_the_file_says(tmp_path: Path, turn: int) -> None:
    """A picture of 48 by 32 is stored 24 wide; turned, it is shown 32 wide and 48 high."""
    def prepare(stream: av.VideoStream) -> None:
        stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = Fraction(2)
        stream.set_display_rotation(turn)

    path = write(tmp_path / "a.mp4", "mpeg4", "yuv420p", [np.ascontiguousarray(BLOCKS[:, ::2])],
                 prepare=prepare)
    shown = BLOCKS if not turn else np.rot90(BLOCKS)
    config = replace(WIDE, image_height=shown.shape[0], image_width=shown.shape[1])
    [frame] = frames(str(path), config)
    inside = np.abs(frame.permute(1, 2, 0).numpy().astype(int) - shown).max(-1)
    assert (inside > 60).mean() < 0.15, "edges between blocks alone are smoothed"


PLAIN = {"gray": 8, "gray10le": 10, "gray12le": 12, "gray16le": 16, "rgb24": 8, "rgb48le": 16,
         "gbrp": 8, "gbrp10le": 10, "gbrp16le": 16}


def constant(kind: str, *planes: int) -> av.VideoFrame:
    """Planes of one value each; interleaved components take the first."""
    frame = av.VideoFrame(16, 16, kind)
    dtype = np.uint8 if max(part.bits for part in frame.format.components) == 8 else "<u2"
    for plane, value in zip(frame.planes, planes, strict=False):
        plane.update(np.full(plane.buffer_size // np.dtype(dtype).itemsize, value,
                             dtype).tobytes())
    return frame


def one_color(tmp_path: Path, frame: av.VideoFrame, codec: str = "ffv1", **tags) -> list[int]:
    suffix = {"png": "mov", "utvideo": "avi"}.get(codec, "mkv")
    path = write(tmp_path / f"a.{suffix}", codec, frame.format.name, [frame], tags=tags,
                 prepare=lambda stream: [setattr(stream.codec_context, *each)
                                         for each in tags.items()])
    return read(path)[0][8, 8].tolist()


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_gray_and_rgb_of_any_depth(tmp_path: Path, kind: str, share: float) -> None:
    value = round(share * (2 ** PLAIN[kind] - 1))
    color = one_color(tmp_path, constant(kind, value, value, value),
                      {"rgb24": "png", "gbrp": "utvideo"}.get(kind, "ffv1"))
    assert color == pytest.approx([255 * share] * 3, abs=1)


@pytest.mark.parametrize(("kind", "bits"), [
    ("yuv420p", 8), ("yuv420p10le", 10), ("yuv422p12le", 12), ("yuv444p16le", 16)])
@pytest.mark.parametrize(("tag", "low", "high"), [
    (ColorRange.MPEG, 16, 235), (ColorRange.UNSPECIFIED, 16, 235), (ColorRange.JPEG, 0, 255)])
def test_limited_and_full_range(tmp_path: Path, kind: str, bits: int, tag: int, low: int,
                                high: int) -> None:
    """Limited is what a stream has that states none."""
    factor = 2 ** (bits - 8)
    top = 2**bits - 1 if high == 255 else high * factor
    for value, right in ((low * factor, 0), (top, 255), ((low * factor + top) // 2, 127.5)):
        color = one_color(tmp_path, constant(kind, value, 128 * factor, 128 * factor),
                          color_range=tag)
        assert color == pytest.approx([right] * 3, abs=1.5)


@pytest.mark.parametrize(("kind", "factor"), [("gray", 1), ("gray10le", 4)])
def test_gray_of_limited_range(tmp_path: Path, kind: str, factor: int) -> None:
    for value, right in ((16, 0), (235, 255), (10, 0), (240, 255)):
        color = one_color(tmp_path, constant(kind, value * factor), color_range=ColorRange.MPEG)
        assert color == pytest.approx([right] * 3, abs=1)


def test_the_matrix_is_the_streams(tmp_path: Path) -> None:
    """Pure red in BT.601 and in BT.709, by the coefficients of the standards."""
    for space, code in ((Colorspace.ITU601, (81, 90, 240)), (Colorspace.ITU709, (63, 102, 240))):
        frame = constant("yuv444p", *code)
        color = one_color(tmp_path, frame, colorspace={5: 6, 1: 1}[int(space)])
        assert color == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize(("name", "codec", "pixel", "tolerance"), [
    ("a.mov", "qtrle", "argb", 1), ("a.mov", "prores_ks", "yuva444p10le", 4),
    ("a.mov", "png", "rgba", 1), ("a.mkv", "ffv1", "yuva420p", 3), ("a.mkv", "ffv1", "bgra", 1),
    ("a.webm", "libvpx-vp9", "yuva420p", 4)])
def test_transparent_is_black(tmp_path: Path, name: str, codec: str, pixel: str, tolerance: int
                              ) -> None:
    alpha = np.kron([[255, 0, 128], [255, 128, 0]], np.ones((16, 16)))[..., None]
    stored = np.concatenate([BLOCKS, alpha], -1).astype(np.uint8)
    path = write(tmp_path / name, codec, pixel, [stored] * 2)
    pictures = read(path)
    assert len(pictures) == 2
    assert error(pictures[1], BLOCKS * (alpha / 255)) < tolerance


def test_floating_point_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", "exr", "gbrapf32le", [av.VideoFrame(16, 16, "gbrapf32le")])
    with pytest.raises(ValueError, match=r"a\.mov: floating-point pixels \(gbrapf32le\)"):
        frames(str(path), WIDE)


def count_of(path: Path) -> int:
    check_whole(path)
    return len(read(path))


def numbered(count: int) -> list[np.ndarray]:
    return [np.full((32, 48, 3), 10 * number, np.uint8) for number in range(count)]


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi"])
def test_a_file_that_starts_late_is_whole(tmp_path: Path, suffix: str) -> None:
    times = [100 + number for number in range(10)]
    path = write(tmp_path / f"late.{suffix}", "mpeg4", "yuv420p", numbered(10), times=times)
    assert count_of(path) >= 10


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_frames_may_last_differently(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", "mpeg4", "yuv420p", numbered(5),
                 times=[0, 1, 30, 31, 90])
    assert count_of(path) == 5


@pytest.mark.parametrize("sound", [0.05, 9.0])
@pytest.mark.parametrize("suffix", ["mkv", "mov", "avi"])
def test_sound_may_be_shorter_or_longer(tmp_path: Path, suffix: str, sound: float) -> None:
    path = write(tmp_path / f"a.{suffix}", "mpeg4", "yuv420p", numbered(5), sound=sound)
    assert count_of(path) == 5


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_frames_that_are_stored_out_of_order_are_shown_in_order(tmp_path: Path, suffix: str
                                                               ) -> None:
    """H.264 with bidirectional frames."""
    path = write(tmp_path / f"a.{suffix}", "libx264", "yuv420p", numbered(20), coding={
        "bf": "3", "x264-params": "b-adapt=0:scenecut=0:log=-1"})
    with av.open(str(path)) as container:
        stamps = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert stamps != sorted(stamps), "no frame was stored out of order"
    means = [made.mean() for made in read(path)]
    assert len(means) == 20
    assert all(a + 5 < b for a, b in pairwise(means))


def test_a_cover_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 48, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for made, picture in ((cover, BLOCKS), (stream, np.zeros_like(BLOCKS))):
            container.mux(made.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(made.encode())
    [frame] = read(path)
    assert frame.max() < 10


@pytest.mark.parametrize(("suffix", "default", "shown"), [
    ("mkv", 1, 1), ("mkv", 0, 0), ("mp4", 0, 0), ("mkv", None, None)])
def test_of_two_videos_the_default_is_taken(tmp_path: Path, suffix: str, default: int | None,
                                            shown: int | None) -> None:
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w", options={"default_mode": "passthrough"} if suffix == "mkv" else {}
                 ) as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            stream.disposition = av.stream.Disposition(number == default)
        for stream, picture in zip(streams, numbered(20)[::19], strict=True):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    if shown is None:
        with pytest.raises(ValueError, match="the file has 2 video streams, of which 0 are its de"):
            check_whole(path)
    else:
        [frame] = read(path)
        assert abs(frame.mean() - 190 * shown) < 10


def test_a_picture_without_its_suffix_is_no_video(tmp_path: Path) -> None:
    Image.fromarray(BLOCKS).save(tmp_path / "a.mp4", "PNG")
    with pytest.raises(ValueError, match=r"a\.mp4: neither a video nor an image file with its"):
        frames(str(tmp_path / "a.mp4"), WIDE)


@pytest.mark.parametrize("name", ["concat:a.mp4", "a:b.mp4", "%03d.mp4", "a b.mp4"])
def test_a_files_name_is_nothing_but_a_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x.mp4", "mpeg4", "yuv420p", numbered(2)).rename(tmp_path / name)
    assert count_of(tmp_path / name) == 2


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.png", "a.gif", "a.bin"])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"{name}: not ") as refused:
        frames(str(tmp_path / name), WIDE)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "codec", "pixel", "options"), [
    ("a.mp4", "mpeg4", "yuv420p", {}), ("fast.mp4", "mpeg4", "yuv420p",
                                        {"movflags": "faststart"}),
    ("parts.mp4", "mpeg4", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("a.mkv", "ffv1", "yuv420p", {}), ("live.mkv", "ffv1", "yuv420p", {"live": "1"}),
    ("a.webm", "libvpx-vp9", "yuv420p", {}),
    ("a.avi", "mjpeg", "yuvj420p", {}), ("a.wmv", "wmv2", "yuv420p", {}),
    ("a.y4m", "rawvideo", "yuv420p", {}), ("a.ivf", "libvpx-vp9", "yuv420p", {}),
    ("a.mjpeg", "mjpeg", "yuvj420p", {})])
def test_a_cut_file_is_refused_before_its_first_frame(
        tmp_path: Path, name: str, codec: str, pixel: str, options: dict) -> None:
    """Also if no more frames are wanted than lie before the cut."""
    path = write(tmp_path / name, codec, pixel, numbered(12), options=options)
    assert count_of(path) == 12
    whole = path.read_bytes()
    for length in (*range(0, len(whole), len(whole) // 11), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"^{path}: ") as refused:
            frames(str(path), WIDE, 1)
        assert "\n" not in str(refused.value)


def test_what_a_container_states_of_its_length(tmp_path: Path) -> None:
    """By hand: an open length, or none, says nothing itself; a long box has its length behind."""
    path = tmp_path / "a"
    for length_of, data, missing in (
            (box, b"\0\0\0\x10free" + bytes(8), 0), (box, b"\0\0\0\x18free" + bytes(8), 8),
            (box, b"\0\0\0\x01mdat" + (40).to_bytes(8, "big"), 24), (box, b"\0\0\0\0mdat1", 0),
            (element, b"\x1a\x45\xdf\xa3\x82ab", 0), (element, b"\x1a\x45\xdf\xa3\x89ab", 7),
            (element, b"\x18\x53\x80\x67\x01" + b"\xff" * 7, 0), (element, bytes(9), 0),
            (element, b"\x18\x53\x80\x67\x40\x20", 32),
            (element, b"\x18\x53\x80\x67\xff\xec\x85ab", 3),
            (triplet, MXF_KEY + bytes(12) + b"\x03abc", 0),
            (triplet, MXF_KEY + bytes(12) + b"\x83\0\x01\0abc", 253), (triplet, bytes(40), 0),
            (chunk, b"RIFF\x08\0\0\0AVI 1234", 0), (chunk, b"RIFF\x0c\0\0\0AVI 1234", 4),
            (chunk, b"RIFF\0\0\0\0AVI ", 0), (chunk, b"RIFF" + b"\xff" * 4, 0)):
        path.write_bytes(data)
        assert blocks_missing(path, len(data), length_of) == missing


@pytest.mark.parametrize(("name", "codec", "pixel"), [
    ("a.avi", "mjpeg", "yuvj420p"), ("a.mp4", "mpeg4", "yuv420p"), ("a.mov", "png", "rgb24")])
def test_a_damaged_frame_is_refused_before_the_first(tmp_path: Path, name: str, codec: str,
                                                     pixel: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), dtype=np.uint8)
    path = write(tmp_path / name, codec, pixel, [*noise])
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][5]
        place = packet.pos + packet.size // 3
    data[place : place + 40] = bytes(40)
    path.write_bytes(data)
    assert len(list(frames(str(path), WIDE, 5))) == 5
    with pytest.raises(ValueError, match=rf"^{path}: ") as refused:
        frames(str(path), WIDE)
    assert "\n" not in str(refused.value)
