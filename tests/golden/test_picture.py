"""Picture files: upright, 8 bits, on black, by values that are known; the others are refused."""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deltamoe.golden.config import MODELS
from deltamoe.golden.data.folder import files_of
from deltamoe.golden.data.images import check_image, load_image
from deltamoe.golden.data.video import frames

COLOR = replace(MODELS["digits"], name="color", image_height=8, image_width=12, patch_size=4,
                image_channels=3)
GRAY = replace(COLOR, name="gray", image_channels=1)

LUMA = np.kron([[10, 80, 200], [255, 0, 130]], np.ones((4, 4))).astype(np.uint8)
"""Gray (8, 12) in blocks, so that lossy formats keep it; it has no symmetry."""

SCENE = np.stack([LUMA, LUMA[::-1], 255 - LUMA], -1)

ALPHA = np.kron([[255, 128, 0], [0, 255, 51]], np.ones((4, 4))).astype(np.uint8)

STORED: dict[int, Callable] = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a, -1)}
"""How a scene is stored under an EXIF orientation: 6 is shown turned right, so stored left."""


def read(path: Path, config=COLOR) -> np.ndarray:
    pixels = load_image(path, config).permute(1, 2, 0).numpy()
    return pixels if config is COLOR else pixels[..., 0]


def blended(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Color on black by the formula."""
    share = alpha / 255
    return np.floor(color * (share[..., None] if color.ndim == 3 else share) + 0.5)


def near(pixels: np.ndarray, right: np.ndarray, error: int = 1) -> bool:
    return pixels.shape == right.shape and bool(
        (np.abs(pixels.astype(int) - right) <= error).all())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: np.ndarray, depth: int, kind: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of packed rows (8, bytes) that is 12 pixels wide; Pillow writes no 16-bit color."""
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 12, 8, depth, kind, 0, 0, 0)), *extra,
              (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("suffix", "options", "error"), [
    ("png", {}, 0), ("tif", {}, 0), ("tif", {"compression": "tiff_lzw"}, 0),
    ("webp", {"lossless": True}, 0), ("jpg", {"quality": 100, "subsampling": 0}, 2),
    ("avif", {"quality": 100, "subsampling": "4:4:4"}, 4)])
def test_pictures_are_turned_upright(tmp_path: Path, suffix: str, options: dict, error: int,
                                     orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORED[orientation](SCENE))
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif, **options)
    check_image(tmp_path / f"a.{suffix}", COLOR)
    assert near(read(tmp_path / f"a.{suffix}"), SCENE, error)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_unknown_orientation_is_none(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(SCENE).save(tmp_path / "a.png", exif=exif)
    assert near(read(tmp_path / "a.png"), SCENE, 0)


def test_a_wide_picture_that_is_stored_upright_has_another_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(SCENE).save(tmp_path / "a.png", exif=exif)
    with pytest.raises(ValueError, match=r"a\.png: image is 8x12, color takes 12x8"):
        check_image(tmp_path / "a.png", COLOR)


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
@pytest.mark.parametrize("low", [0, 255])
def test_of_16_bits_the_higher_8_are_taken(tmp_path: Path, suffix: str, low: int) -> None:
    """Low bytes of 0 and of the high byte itself, the usual ways to widen, give the same."""
    wide = LUMA.astype(np.uint16) * 256 + (LUMA if low else 0)
    Image.fromarray(wide).save(tmp_path / f"a.{suffix}")
    assert near(read(tmp_path / f"a.{suffix}", GRAY), LUMA, 0)
    assert near(read(tmp_path / f"a.{suffix}"), np.stack([LUMA] * 3, -1), 0)


def tiff(values: np.ndarray, bits: int, order: str = "<", photometric: int = 1,
         sample_format: int = 1, compression: int = 1, samples: int = 1) -> bytes:
    """An uncompressed TIFF of one strip, 12 by 8."""
    tags = [(256, 12), (257, 8), (258, bits), (259, compression), (262, photometric), (273, 8),
            (277, samples), (278, 8), (279, len(values.tobytes())), (339, sample_format)]
    data = values.tobytes()
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("order", "photometric"), [("<", 1), (">", 1), ("<", 0)])
def test_a_tiff_of_16_bits_of_either_byte_order_and_polarity(
        tmp_path: Path, order: str, photometric: int) -> None:
    wide = (LUMA.astype(np.uint16) * 257).astype(f"{order}u2")
    (tmp_path / "a.tif").write_bytes(tiff(wide, 16, order, photometric))
    assert near(read(tmp_path / "a.tif", GRAY), LUMA if photometric else 255 - LUMA, 0)


def test_a_tiff_of_12_bits(tmp_path: Path) -> None:
    wide = LUMA.astype(int) * 16 + 7
    pairs = wide.reshape(8, 6, 2)
    packed = np.stack([pairs[..., 0] >> 4, (pairs[..., 0] & 15) << 4 | pairs[..., 1] >> 8,
                       pairs[..., 1] & 255], -1).astype(np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(packed, 12))
    assert near(read(tmp_path / "a.tif", GRAY), LUMA, 0)


@pytest.mark.parametrize("maximum", [255, 1023, 4095, 65535])
def test_a_pgm_is_scaled_by_its_maximum(tmp_path: Path, maximum: int) -> None:
    values = np.round(LUMA / 255 * maximum).astype(">u2" if maximum > 255 else np.uint8)
    (tmp_path / "a.pgm").write_bytes(b"P5 12 8 %d\n" % maximum + values.tobytes())
    assert near(read(tmp_path / "a.pgm", GRAY), LUMA, 1)


def test_color_of_16_bits(tmp_path: Path) -> None:
    wide = (SCENE.astype(np.uint16) * 257).astype(">u2").reshape(8, -1)
    (tmp_path / "a.png").write_bytes(png(wide, 16, 2))
    assert near(read(tmp_path / "a.png"), SCENE, 0)


def test_gray_of_16_bits_with_alpha(tmp_path: Path) -> None:
    wide = (np.stack([LUMA, ALPHA], -1).astype(np.uint16) * 257).astype(">u2").reshape(8, -1)
    (tmp_path / "a.png").write_bytes(png(wide, 16, 4))
    assert near(read(tmp_path / "a.png", GRAY), blended(LUMA, ALPHA))


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_transparent_is_black(tmp_path: Path, suffix: str) -> None:
    stored = np.concatenate([SCENE, ALPHA[..., None]], -1)
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", **options)
    assert near(read(tmp_path / f"a.{suffix}"), blended(SCENE, ALPHA))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("config", [GRAY, COLOR], ids=["gray", "color"])
def test_white_ink_with_alpha_is_its_alpha(tmp_path: Path, suffix: str, config) -> None:
    stored = np.stack([np.full_like(ALPHA, 255), ALPHA], -1)
    Image.fromarray(stored, "LA").save(tmp_path / f"a.{suffix}")
    right = ALPHA if config is GRAY else np.stack([ALPHA] * 3, -1)
    assert near(read(tmp_path / f"a.{suffix}", config), right, 0)


def test_palettes_and_their_alpha(tmp_path: Path) -> None:
    """All of a palette's colors have an alpha (PNG), or one color is transparent (GIF)."""
    index = np.kron([[0, 1, 2], [3, 4, 5]], np.ones((4, 4))).astype(np.uint8)
    palette = np.array([[200, 10, 30], [1, 2, 3], [90, 80, 70], [255, 255, 255], [9, 99, 199],
                        [40, 50, 60]], np.uint8)
    alpha = np.array([255, 0, 51, 128, 255, 255], np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "alpha.png", transparency=alpha.tobytes())
    image.save(tmp_path / "one.gif", transparency=3)
    assert near(read(tmp_path / "plain.png"), palette[index], 0)
    assert near(read(tmp_path / "alpha.png"), blended(palette[index], alpha[index]))
    assert near(read(tmp_path / "one.gif"), palette[index] * (index != 3)[..., None], 0)


@pytest.mark.parametrize(("depth", "factor"), [(1, 255), (2, 85), (4, 17), (8, 1), (16, 257)])
@pytest.mark.parametrize("transparent", [False, True])
def test_gray_of_any_depth_with_one_transparent_value(
        tmp_path: Path, depth: int, factor: int, transparent: bool) -> None:
    top = 2**depth - 1
    values = (np.kron([[0, 2, 1], [3, 1, 3]], np.ones((4, 4))) * top / 3).round().astype(int)
    if depth == 16:
        rows = values.astype(">u2")
    else:
        bits = values[..., None] >> np.arange(depth)[::-1] & 1
        rows = np.packbits(bits.reshape(8, -1), axis=-1)
    extra = [(b"tRNS", struct.pack(">H", top))] if transparent else []
    (tmp_path / "a.png").write_bytes(png(rows, depth, 0, *extra))
    right = values * factor if depth < 16 else values // 256
    right = right * (values != top) if transparent else right
    assert near(read(tmp_path / "a.png", GRAY), right, 0)


def test_one_transparent_color(tmp_path: Path) -> None:
    extra = (b"tRNS", struct.pack(">3H", *SCENE[0, 0]))
    (tmp_path / "a.png").write_bytes(png(SCENE.reshape(8, -1), 8, 2, extra))
    right = SCENE * (SCENE[0, 0] != SCENE).any(-1, keepdims=True)
    assert near(read(tmp_path / "a.png"), right, 0)


def test_the_plain_formulas_of_cmyk_and_ycbcr(tmp_path: Path) -> None:
    ink = np.zeros((8, 12, 4), np.uint8)
    ink[:, :4, 0], ink[:, 4:8, 1], ink[:, 8:, 3] = 255, 128, 255
    Image.fromarray(ink, "CMYK").save(tmp_path / "ink.tif")
    colors = [(0, 255, 255), (255, 127, 255), (0, 0, 0)]
    assert near(read(tmp_path / "ink.tif"), np.tile(np.repeat(colors, 4, 0), (8, 1, 1)))
    Image.fromarray(SCENE).convert("YCbCr").save(tmp_path / "luma.tif")
    assert near(read(tmp_path / "luma.tif"), SCENE, 3)


def test_one_bit_is_black_or_white(tmp_path: Path) -> None:
    right = (LUMA > 100) * 255
    for name in ("a.png", "a.tif", "a.bmp", "a.pbm"):
        Image.fromarray(LUMA > 100).save(tmp_path / name)
        assert near(read(tmp_path / name, GRAY), right, 0)


def test_gray_in_color_and_color_in_gray(tmp_path: Path) -> None:
    Image.fromarray(LUMA).save(tmp_path / "gray.png")
    Image.fromarray(SCENE).save(tmp_path / "color.png")
    assert near(read(tmp_path / "gray.png"), np.stack([LUMA] * 3, -1), 0)
    assert near(read(tmp_path / "color.png", GRAY), SCENE @ [0.299, 0.587, 0.114])


def floating(path: Path) -> str:
    Image.fromarray(LUMA.astype(np.float32) / 255).save(path / "a.tif")
    return "floating-point pixels"


def integers(path: Path) -> str:
    Image.fromarray(LUMA.astype(np.int32) * 1000).save(path / "a.tif")
    return "32-bit or signed pixels"


def signed_16(path: Path) -> str:
    (path / "a.tif").write_bytes(tiff(LUMA.astype("<i2"), 16, sample_format=2))
    return "32-bit or signed pixels"


def signed_8(path: Path) -> str:
    (path / "a.tif").write_bytes(tiff(LUMA.astype(np.int8), 8, sample_format=2))
    return "signed pixels"


def lab(path: Path) -> str:
    Image.fromarray(SCENE, "LAB").save(path / "a.tif")
    return "Lab colors"


def portable_float(path: Path) -> str:
    (path / "a.pfm").write_bytes(b"Pf 12 8 -1.0\n" + LUMA.astype("<f4").tobytes())
    return "floating-point pixels"


def animation(path: Path) -> str:
    first, second = (Image.fromarray(values) for values in (SCENE, SCENE[::-1].copy()))
    first.save(path / "a.gif", save_all=True, append_images=[second])
    return "the file holds 2 pictures, one is wanted"


def pages(path: Path) -> str:
    first, second = (Image.fromarray(values) for values in (SCENE, SCENE[::-1].copy()))
    first.save(path / "a.tif", save_all=True, append_images=[second, first])
    return "the file holds 3 pictures, one is wanted"


def thumbnail(path: Path) -> str:
    Image.fromarray(SCENE).save(path / "a.tif", tiffinfo={254: 1})
    return "the file begins with a reduced copy"


def transparent_color(path: Path) -> str:
    wide = (SCENE.astype(np.uint16) * 257).astype(">u2").reshape(8, -1)
    (path / "a.png").write_bytes(png(wide, 16, 2, (b"tRNS", struct.pack(">3H", 1, 2, 3))))
    return "one transparent color among 16-bit colors"


def missing_rows(path: Path) -> str:
    (path / "a.png").write_bytes(png(LUMA[:6], 8, 0))
    return "the file is damaged: it has fewer rows of pixels than its size"


def missing_strip(path: Path) -> str:
    data = bytearray(tiff(LUMA, 8))
    place = data.index(struct.pack("<HHII", 279, 4, 1, 96)) + 8
    data[place : place + 4] = struct.pack("<I", 40)
    (path / "a.tif").write_bytes(data)
    return "the file is damaged: its 96 pixels have 40 bytes"


def missing_colors(path: Path) -> str:
    (path / "a.png").write_bytes(png(LUMA, 8, 3, (b"PLTE", bytes(3 * 255))))
    return "the file is damaged: a pixel has color 255 of a palette of 255"


def narrow_palette(path: Path) -> str:
    image = Image.fromarray(LUMA, "P")
    image.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    image.save(path / "a.tif")
    data = (path / "a.tif").read_bytes()
    with Image.open(path / "a.tif") as image:
        place = data.index(struct.pack("<768H", *image.tag_v2[320]))
    narrow = struct.pack("<768H", *(value // 257 for value in struct.unpack_from(
        "<768H", data, place)))
    (path / "a.tif").write_bytes(data[:place] + narrow + data[place + len(narrow):])
    return "the palette's colors are all below 256 of 65,535"


def no_end(path: Path) -> str:
    """All pixels are there, but an orientation may have followed them."""
    (path / "a.png").write_bytes(png(SCENE.reshape(8, -1), 8, 2)[:-12])
    return "the file is cut: it lacks its end"


def unusual_tiff(path: Path) -> str:
    wide = (LUMA.astype(np.uint16) * 257).astype(">u2")
    (path / "a.tif").write_bytes(tiff(wide, 16, ">", photometric=0))
    return "the TIFF file is damaged, or its pixels are stored in a way that is not read"


def no_palette(path: Path) -> str:
    (path / "a.png").write_bytes(png(LUMA, 8, 3))
    return "the file is damaged: a pixel has color 0 of a palette of 0"


def other_kind(path: Path) -> str:
    Image.fromarray(SCENE).save(path / "a.tga")
    return "not an image file of a known kind"


def empty(path: Path) -> str:
    (path / "a.png").write_bytes(b"")
    return "not an image file of a known kind"


def directory(path: Path) -> str:
    (path / "a.png").mkdir()
    return "Is a directory"


@pytest.mark.parametrize("make", [
    floating, integers, signed_16, signed_8, lab, portable_float, animation, pages, thumbnail,
    transparent_color, missing_strip, narrow_palette, no_end, unusual_tiff, other_kind, empty,
    directory])
def test_what_has_no_right_meaning_is_refused_by_name(tmp_path: Path, make: Callable) -> None:
    words = make(tmp_path)
    [path] = tmp_path.iterdir()
    for check in (check_image, load_image):
        with pytest.raises(ValueError, match=rf"^{path}: {words}") as error:
            check(path, COLOR)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [missing_rows, missing_colors, no_palette])
def test_what_the_pixels_alone_tell_is_refused_too(tmp_path: Path, make: Callable) -> None:
    words = make(tmp_path)
    [path] = tmp_path.iterdir()
    with pytest.raises(ValueError, match=rf"^{path}: {words}"):
        load_image(path, COLOR)


def test_a_transparent_color_need_not_be_in_the_palette(tmp_path: Path) -> None:
    index = np.where(LUMA == 255, 7, LUMA == 80).astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(bytes([9, 9, 9, 200, 200, 200]))
    image.save(tmp_path / "a.gif", transparency=7, optimize=False)
    right = np.where(LUMA == 255, 0, np.where(LUMA == 80, 200, 9))
    assert near(read(tmp_path / "a.gif", GRAY), right, 0)


def test_cameras_previews_are_no_pictures(tmp_path: Path) -> None:
    """Telephones write JPEGs whose further pictures (MPO) are previews or depths."""
    first, second = (Image.fromarray(values) for values in (SCENE, SCENE[::-1].copy()))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=100,
               subsampling=0)
    assert near(read(tmp_path / "a.jpg"), SCENE, 3)


@pytest.mark.parametrize(("name", "options"), [
    ("a.gif", {}), ("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {}),
    ("cover.png", {"default_image": True})])
def test_all_pictures_of_a_file_are_frames(tmp_path: Path, name: str, options: dict) -> None:
    """A PNG's default image is shown where animations are not, and is none of the frames."""
    shown = [SCENE, SCENE[::-1].copy(), SCENE[:, ::-1].copy()]
    images = [Image.fromarray(values) for values in (
        [255 - SCENE, *shown] if "default_image" in options else shown)]
    images[0].save(tmp_path / name, save_all=True, append_images=images[1:], **options)
    pictures = [frame.permute(1, 2, 0).numpy() for frame in frames(str(tmp_path / name), COLOR)]
    assert len(pictures) == 3
    assert all(near(*pair, 0) for pair in zip(pictures, shown, strict=True))


@pytest.mark.parametrize(("suffix", "options"), [
    ("png", {}), ("jpg", {}), ("tif", {}), ("tif", {"compression": "tiff_deflate"}),
    ("webp", {}), ("avif", {}), ("gif", {}), ("bmp", {}), ("ppm", {})])
def test_a_cut_file_gives_all_pixels_or_none(tmp_path: Path, suffix: str, options: dict) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    whole, right = path.read_bytes(), read(path)
    refused = 0
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            assert near(read(path), right, 0)
        except ValueError:
            refused += 1
    assert refused > len(whole) / 7 * 0.9


def test_files_of_a_folder_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "b.PNG", "a1.tif", "._2.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more.png").mkdir()
    assert [path.name for path in files_of(tmp_path)] == ["2.png", "10.png", "a1.tif", "b.PNG"]


def test_a_link_to_nothing_or_a_pipe_is_no_missing_frame(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    (tmp_path / "2.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"2\.png: neither a file nor a link to one"):
        files_of(tmp_path)
    (tmp_path / "2.png").unlink()
    os.mkfifo(tmp_path / "2.png")
    with pytest.raises(ValueError, match=r"2\.png: neither a file nor a link to one"):
        files_of(tmp_path)


@pytest.mark.parametrize("name", ["a.heic", "a.tga", "a.JP2", "a.psd"])
def test_a_folder_with_a_picture_that_is_not_read_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "1.png").touch()
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"{name}: not an image file of a known kind"):
        files_of(tmp_path)
