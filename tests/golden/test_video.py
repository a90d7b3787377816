"""Videos: generated ones by their statistics, files by their content, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from deltamoe.golden.config import MODELS, ModelConfig
from deltamoe.golden.data.scenes import BRIGHTNESS, NOISE, SCENES, scene, shifted, texture
from deltamoe.golden.data.video import frames

DIGITS, TINY = MODELS["digits"], MODELS["m3vit-tiny-129"]
SIZES = [DIGITS, TINY, replace(DIGITS, name="tall", image_channels=2, image_height=42,
                               image_width=6)]
RGB = replace(DIGITS, name="rgb", image_channels=3, image_height=16, image_width=32)


def shown(kind: str, config: ModelConfig, count: int, seed: int = 0) -> torch.Tensor:
    return torch.stack(list(frames(f"generator:{kind}", config, count, seed))).long()


def changed(kind: str, config: ModelConfig, beyond: int) -> float:
    """Share of the pixels that move by more than ``beyond`` codes from frame to frame."""
    return float((shown(kind, config, 24).diff(dim=0).abs() > beyond).float().mean())


@pytest.mark.parametrize("kind", SCENES)
@pytest.mark.parametrize("config", SIZES, ids=lambda config: config.name)
def test_generators_depend_on_number_and_seed_alone(kind: str, config: ModelConfig) -> None:
    shape = (config.image_channels, config.image_height, config.image_width)
    first = list(frames(f"generator:{kind}", config, 5, 7))
    assert all(frame.shape == shape and frame.dtype == torch.uint8 for frame in first)
    assert len(first) == 5
    again = frames(f"generator:{kind}", config, None, 7)
    assert all(torch.equal(*pair) for pair in zip(first, islice(again, 5), strict=True))
    late = scene(kind, config, 7)
    assert torch.equal(late(4), first[4]), "a frame depends on those before it"
    assert late(100_000).float().std() > 10
    other = next(frames(f"generator:{kind}", config, 1, 8))
    assert (other != first[0]).float().mean() > 0.8
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("config", SIZES, ids=lambda config: config.name)
def test_more_changes_with_an_object_and_most_with_a_pan(config: ModelConfig) -> None:
    for beyond in (0, 1, 4):
        still, moving, pan = (changed(kind, config, beyond) for kind in ("fixed", "object", "pan"))
        assert still < moving < pan
    assert still < 0.01, "noise alone moved pixels far"
    assert moving < 0.15
    assert pan > 0.5


def test_noise_is_one_code_and_partly_below_rounding() -> None:
    stack = shown("fixed", TINY, 24).double()
    # Rounding adds 1/12 of a code squared; of 2.3 million samples, a 20th is many deviations.
    assert float(stack.var(0).mean()) == pytest.approx(NOISE**2 + 1 / 12, rel=0.05)
    # A texture has exactly its brightness on average; cutting off the fraction would lose 0.5.
    assert float(stack.mean()) == pytest.approx(BRIGHTNESS, abs=0.2)
    unmoved = float((stack[1:] == stack[:-1]).double().mean())
    # Between frames the deviation is sqrt(2): 0.276 of differences are within half a code.
    assert unmoved == pytest.approx(0.28, abs=0.02)
    for dark in (shown("fixed", TINY, 1, seed) for seed in range(3)):
        assert ((dark == 0) | (dark == 255)).float().mean() < 0.05, "saturation hides the noise"


def test_the_object_moves_over_the_scene_of_the_fixed_camera() -> None:
    still, moving = shown("fixed", TINY, 60), shown("object", TINY, 60)
    apart = (still != moving).any(1)                                         # (60, H, W)
    columns = [float(mask.nonzero()[:, 1].double().mean()) for mask in apart]
    assert 0.005 < float(apart.float().mean()) < 0.05
    assert min(columns) < 0.1 * 256
    assert max(columns) > 0.9 * 256
    assert max(abs(a - b) for a, b in pairwise(columns)) < 10
    insides = []
    for number in (8, 24):
        y, x = apart[number].nonzero().double().mean(0).round().int().tolist()
        insides.append(moving[number, :, y - 8 : y + 9, x - 8 : x + 9].flatten())
    assert torch.corrcoef(torch.stack(insides))[0, 1] > 0.9, "its texture stays behind"


def test_the_pan_shows_the_same_texture_further_on() -> None:
    stack = shown("pan", TINY, 52).double()
    late = stack[50]
    # 50 frames of (0.2, 0.98) pixels: 10 rows and 49 columns.
    overlap = (late[:, :-10, :-49] - stack[0, :, 10:, 49:]).abs().mean()
    assert overlap < 1.5 * NOISE, "more than the noise of both"
    assert (late - stack[0]).abs().mean() > 20


def test_a_shift_between_pixels_is_linear() -> None:
    image = np.arange(12.0).reshape(1, 3, 4)
    assert shifted(image, 0, 0.25)[0, 0].tolist() == [0.25, 1.25, 2.25, 0.75 * 3]
    assert shifted(image, -1, 2)[0].tolist() == [[10, 11, 8, 9], [2, 3, 0, 1], [6, 7, 4, 5]]


def test_a_texture_is_of_photographic_spectrum() -> None:
    image = texture(np.random.default_rng(0), 1, 128, 128)[0]
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    bands = [power[(radius > low) & (radius < 1.2 * low)].mean() for low in (0.04, 0.32)]
    # Eight times the frequency: 1.0 to 1.4 in amplitude is 2.0 to 2.8 in power.
    assert 8**2.0 < bands[0] / bands[1] < 8**2.8


def gradient(number: int, height: int = 24, width: int = 64) -> np.ndarray:
    """Smooth picture (height, width, 3), another for each number."""
    y, x = np.mgrid[:height, :width]
    return np.stack([3 * x, 8 * y, 0 * x + 20 * number], -1).clip(0, 255).astype(np.uint8)


def write(path: Path, codec: str, pixel: str, count: int = 6, **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 24, pixel
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(gradient(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "codec", "pixel", "error"), [
    ("lossless.avi", "ffv1", "bgr0", 0), ("lossless.mkv", "ffv1", "bgr0", 0),
    ("lossy.mp4", "mpeg4", "yuv420p", 4), ("lossy.avi", "mjpeg", "yuvj420p", 4)])
def test_video_files_become_frames_in_order(
        tmp_path: Path, name: str, codec: str, pixel: str, error: int) -> None:
    path = write(tmp_path / name, codec, pixel)
    same = replace(RGB, image_height=24, image_width=64, patch_size=4)
    stack = torch.stack(list(frames(str(path), same)))
    expected = torch.from_numpy(np.stack([gradient(n) for n in range(6)])).permute(0, 3, 1, 2)
    assert stack.shape == (6, 3, 24, 64)
    assert stack.dtype == torch.uint8
    # Neighbors differ by 20 / 3 on average, in blue.
    assert (stack.long() - expected.long()).abs().float().mean() <= error
    assert [len(list(frames(str(path), same, count))) for count in (1, 6, 9)] == [1, 6, 6]


def test_frames_are_cut_in_the_middle_resized_and_gray(tmp_path: Path) -> None:
    """Of 64x24 a square network sees the middle 24 columns, each third pixel averaged."""
    path = write(tmp_path / "wide.avi", "ffv1", "bgr0", 1)
    tall = replace(RGB, image_height=24, image_width=12, patch_size=4)
    color = next(frames(str(path), tall)).long()
    assert torch.equal(color, torch.from_numpy(gradient(0)[:, 26:38]).permute(2, 0, 1).long())
    gray = next(frames(str(path), DIGITS))
    red, green = np.arange(20, 44) * 3, np.arange(24) * 8
    luma = (0.299 * red + 0.587 * green[:, None]).reshape(8, 3, 8, 3).mean((1, 3))
    assert gray.shape == (1, 8, 8)
    # The triangle filter reaches one and a half pixels of the result; only its ends see an edge.
    assert np.abs(gray[0].numpy() - luma)[1:-1, 1:-1].max() <= 1.5


def test_folders_are_read_in_name_order_at_any_size(tmp_path: Path) -> None:
    for name, value, size in (("b.png", 2, (8, 8)), ("a.bmp", 1, (30, 9)), ("c.PNG", 3, (5, 50))):
        Image.new("RGB", size, (value,) * 3).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no frame")
    stack = list(frames(str(tmp_path), RGB))
    assert [frame.unique().tolist() for frame in stack] == [[1], [2], [3]]
    assert {frame.shape for frame in stack} == {(3, 16, 32)}
    assert [int(frame[0, 0, 0]) for frame in frames(str(tmp_path), DIGITS, 2)] == [1, 2]


@pytest.mark.parametrize(("name", "codec", "pixel", "options"), [
    ("last.mp4", "mpeg4", "yuv420p", {}), ("first.mp4", "mpeg4", "yuv420p",
                                           {"movflags": "faststart"}),
    ("mjpeg.avi", "mjpeg", "yuvj420p", {}), ("mpeg4.avi", "mpeg4", "yuv420p", {}),
    ("mpeg4.mkv", "mpeg4", "yuv420p", {}), ("ffv1.mkv", "ffv1", "bgr0", {})])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7])
def test_a_cut_video_file_is_refused_by_name(
        tmp_path: Path, name: str, codec: str, pixel: str, options: dict, share: float) -> None:
    path = write(tmp_path / name, codec, pixel, 20, **options)
    assert len(list(frames(str(path), RGB))) == 20
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=rf"^{path}: ") as error:
        list(frames(str(path), RGB))
    assert "\n" not in str(error.value)


def test_a_byte_less_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "mpeg4", "yuv420p", 20, movflags="faststart")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"a\.mp4: the file is damaged or cut behind frame 19"):
        list(frames(str(path), RGB))


def empty_folder(folder: Path) -> tuple[str, str]:
    (folder / "clips").mkdir()
    (folder / "clips" / "list.txt").write_text("nothing")
    return str(folder / "clips"), r"clips: the folder holds no image \(\.png, "


def broken_image(folder: Path) -> tuple[str, str]:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return str(folder), r"a\.png: "


def text(folder: Path) -> tuple[str, str]:
    (folder / "a.mp4").write_text("no video at all")
    return str(folder / "a.mp4"), r"a\.mp4: not a whole video file"


def sound(folder: Path) -> tuple[str, str]:
    with av.open(str(folder / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return str(folder / "a.wav"), r"a\.wav: the file has no video stream"


def unknown(folder: Path) -> tuple[str, str]:
    return "generator:rain", (r"'generator:rain' is not one of generator:fixed, generator:object, "
                              "generator:pan")


def missing(folder: Path) -> tuple[str, str]:
    return str(folder / "no.mp4"), r"no\.mp4' is neither a folder .* generator:pan"


@pytest.mark.parametrize("make", [empty_folder, broken_image, text, sound, unknown, missing])
def test_what_is_no_video_is_refused_by_name(tmp_path: Path, make: Callable) -> None:
    source, words = make(tmp_path)
    with pytest.raises(ValueError, match=words) as error:
        list(frames(source, DIGITS))
    assert "\n" not in str(error.value)


def test_sources_are_checked_before_the_first_frame(tmp_path: Path) -> None:
    for make in (empty_folder, text, sound, unknown, missing):
        with pytest.raises(ValueError, match=r"\w"):
            frames(make(tmp_path)[0], DIGITS)
    with pytest.raises(ValueError, match=r"^count=0 is not at least 1"):
        frames("generator:pan", DIGITS, 0)
    with pytest.raises(ValueError, match=r"^seed=-1 is negative"):
        frames("generator:pan", DIGITS, 1, -1)
    with pytest.raises(ValueError, match=r"files have 1 or 3 channels, tall takes 2"):
        frames(str(tmp_path), SIZES[2])
