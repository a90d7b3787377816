"""A picture file as it is meant to be seen: upright, 8 bits a channel, on black.

* Upright: turned and mirrored as its EXIF (or XMP) orientation says.
* Of 16 bits, the higher 8; of 12 bits, as a TIFF may have, the highest 8.
* A color is multiplied by its alpha, be that a channel, a palette's or one transparent color: what
  is transparent is black, the background of the handwritten digits.
* CMYK and YCbCr become RGB by their plain formulas; color profiles, gamma and the density of
  pixels are not looked at.

What has no such meaning is refused by name: floating-point, signed and 32-bit pixels, whose range
no file states; Lab colors; several pictures in one file where one is wanted. So is a
file that is cut, or whose pixels are fewer than its size or name colors that its palette lacks. A
JPEG has no such sign: what is damaged within is read as Pillow's decoder guesses it.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

FORMATS = {
    "PNG": (".png", ".apng"), "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "WEBP": (".webp",), "GIF": (".gif",),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"), "AVIF": (".avif",),
}
"""What is read, by Pillow's names, and how such files are called.

A JPEG 2000 that is cut decodes without an error, so it is none of them.
"""

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

REFUSED_SUFFIXES = (".heic", ".heif", ".jxl", ".svg", ".exr", ".hdr", ".dng", ".cr2", ".nef")
"""Further pictures, beside those that Pillow knows, that are not read."""

MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr"}
"""Pillow's modes of 8 bits a channel or fewer."""

MODES_16 = {"I;16", "I;16B", "I;16L", "I;16N"}

SUBBYTE = {"L;2": 85, "L;4": 17}
"""Factor to 8 bits of PNG's narrower gray, which the file's transparent gray lacks in Pillow."""

NAMES = {"F": "floating-point pixels", "I": "32-bit or signed pixels", "LAB": "Lab colors"}

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation; 1 and unknown ones need nothing."""

IMAGE_WIDTH_TAG, IMAGE_HEIGHT_TAG = 256, 257
ORIENTATION_TAG, TURNED = ExifTags.Base.Orientation, {5, 6, 7, 8}
SUBFILE_TAG, BITS_TAG, PHOTOMETRIC_TAG, SAMPLE_FORMAT_TAG = 254, 258, 262, 339
COMPRESSION_TAG, PALETTE_TAG, STRIP_BYTES_TAG, TILE_BYTES_TAG = 259, 320, 279, 325
UNCOMPRESSED, YCBCR = 1, 6
WHITE_IS_ZERO, REDUCED = 0, 1
UNSIGNED = {1, 4}
"""TIFF's sample formats: unsigned, and undefined, which is read as unsigned."""

PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by PNG's type of color."""


@contextmanager
def strict() -> Iterator[None]:
    """Make errors of Pillow's warnings that a file is damaged; keep its other ones quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "(Truncated|Corrupt)")
        yield


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture file; whatever is wrong with it is told with its name.

    Raises
    ------
    ValueError
        The file is no picture or a damaged one, or what the caller does with it raises ValueError.
    """
    try:
        with strict():
            image = Image.open(path, formats=tuple(FORMATS))
        if "transparency" in image.info and stored_mode(image) in SUBBYTE:
            image.info["transparency"] *= SUBBYTE[stored_mode(image)]
        with image:
            if image.format == "GIF" and not path.read_bytes().rstrip(b"\0").endswith(b";"):
                raise ValueError("the file is cut: it lacks its end")
            if image.format == "PNG":
                png_stream(path)
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{path}: {unread(path)}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: {str(error).partition(', could be')[0]}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or damaged(error)}") from None
    # Pillow's decoders raise nearly anything on damaged bytes.
    except Exception as error:
        raise ValueError(f"{path}: {damaged(error)}") from None


def damaged(error: Exception) -> str:
    """Say a decoder's error, which may have no words."""
    return f"the file is damaged ({str(error) or type(error).__name__})"


def unread(path: Path) -> str:
    """Say why Pillow opens no picture: by its first bytes the file is of a known kind or not."""
    with path.open("rb") as file:
        head = file.read(16).ljust(16, b"\0")
    for kind in FORMATS:
        if Image.OPEN[kind][1](head):
            return f"the {kind} file is damaged, or its pixels are stored in a way that is not read"
    return f"not an image file of a known kind ({', '.join(FORMATS)})"


def png_stream(path: Path) -> tuple[bytes, bytes]:
    """Return the header (13 bytes) and the compressed pixels of a PNG's still picture.

    Raises
    ------
    ValueError
        The file ends before its last chunk, so that pixels or an orientation may be missing.
    """
    data = path.read_bytes()
    position, chunks = 8, {b"IHDR": [], b"IDAT": []}
    while (kind := data[position + 4 : position + 8]) != b"IEND":
        if len(kind) < 4:
            raise ValueError("the file is cut: it lacks its end")
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.get(kind, []).append(data[position + 8 : position + 8 + length])
        position += 12 + length
    return b"".join(chunks[b"IHDR"]), b"".join(chunks[b"IDAT"])


def check_png_rows(path: Path) -> None:
    """Raise ValueError if a PNG has fewer rows than its header states; Pillow makes them black.

    A row is a byte and its pixels, packed. Pillow itself finds missing rows of interlaced ones.
    """
    header, packed = png_stream(path)
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    needed = height * (1 + (width * depth * PNG_SAMPLES[color] + 7) // 8)
    if not interlaced and len(zlib.decompressobj().decompress(packed, needed)) < needed:
        raise ValueError("the file is damaged: it has fewer rows of pixels than its size")


def check_tiff(tags: Mapping) -> None:
    """Raise ValueError if a TIFF has fewer pixels than its size, or a palette that is no such.

    A palette's colors are of 16 bits; some programs write 8, which would all be black.
    """
    stored = sum(tags.get(STRIP_BYTES_TAG, tags.get(TILE_BYTES_TAG, ())))
    pixels = tags[IMAGE_WIDTH_TAG] * tags[IMAGE_HEIGHT_TAG]
    if (tags.get(COMPRESSION_TAG) == UNCOMPRESSED and tags.get(PHOTOMETRIC_TAG) != YCBCR
            and 0 < stored < pixels * sum(tags.get(BITS_TAG, (1,))) // 8):
        raise ValueError(f"the file is damaged: its {pixels:,} pixels have {stored:,} bytes")
    if 0 < max(tags.get(PALETTE_TAG, (0,))) < 256:
        raise ValueError("the palette's colors are all below 256 of 65,535, so they may be of 8 "
                         "bits or all but black; save the picture without a palette")


def check_palette(image: Image.Image) -> None:
    """Raise ValueError if a loaded picture uses a color that its palette lacks."""
    colors = len(image.getpalette()) // 3
    for code, count in enumerate(image.histogram()):
        if count and code >= colors and code != image.info.get("transparency"):
            raise ValueError(f"the file is damaged: a pixel has color {code} of a palette of "
                             f"{colors}")


def check_showable(image: Image.Image, *, several: bool = False) -> None:
    """Check, by the header, that a picture can be shown; ``several`` may be in the file.

    Raises
    ------
    ValueError
        It cannot; the message says why and what can.
    """
    tags = image.tag_v2 if image.format == "TIFF" else {}
    wide = image.mode in MODES_16 or (image.mode == "I" and image.format == "PPM")
    signed = not UNSIGNED.issuperset(tags.get(SAMPLE_FORMAT_TAG, (1,)))
    if signed or not (wide or image.mode in MODES):
        mode = NAMES.get(image.mode, "signed pixels" if signed else f"pixels of mode {image.mode}")
        raise ValueError(f"{mode} have no certain meaning in 8 bits; unsigned pixels of up to 16 "
                         "bits are read: gray, RGB, CMYK, YCbCr or a palette, with or without "
                         "alpha")
    if image.mode == "RGB" and stored_mode(image) == "RGB;16B" and "transparency" in image.info:
        raise ValueError("one transparent color among 16-bit colors cannot be read; save it with "
                         "an alpha channel")
    if tags:
        check_tiff(tags)
    if tags.get(SUBFILE_TAG, 0) & REDUCED:
        raise ValueError("the file begins with a reduced copy of its picture, as raw photographs "
                         "do; save the picture alone")
    count = frames_of(image)
    if count > 1 and not several:
        raise ValueError(f"the file holds {count} pictures, one is wanted; save it alone, or show "
                         "the file as a video")


def frames_of(image: Image.Image) -> int:
    """Return how many pictures a file holds; a camera's previews (MPO) are none."""
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return count - getattr(image, "default_image", False)


def stored_mode(image: Image.Image) -> str:
    """Return Pillow's raw mode of a picture that is not yet loaded."""
    arguments = image.tile[0].args if image.tile else None
    return arguments if isinstance(arguments, str) else (arguments or ("",))[0]


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height as shown. Of a TIFF, Pillow's size is that already."""
    turned = image.format != "TIFF" and orientation(image) in TURNED
    return image.size[::-1] if turned else image.size


def orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation; None if there is none, or a loaded TIFF is upright already."""
    with strict():
        return image.getexif().get(ORIENTATION_TAG)


def seen(image: Image.Image) -> Image.Image:
    """Return a checked picture as it is meant to be seen, in mode ``L`` or ``RGB``.

    Raises
    ------
    ValueError
        Pixels or colors are missing.
    """
    tags = getattr(image, "tag_v2", {})
    bits, inverted = tags.get(BITS_TAG, (16,))[0], tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO
    if image.format == "PNG" and image.tell() == 0:
        check_png_rows(Path(image.filename))
    with strict():
        image.load()
    if image.mode == "P":
        check_palette(image)
    if image.mode in MODES_16 or image.mode == "I":
        shown = narrowed(image, bits, inverted)
    else:
        shown = on_black(image)
    turn = TURNS.get(orientation(image))
    return shown if turn is None else shown.transpose(turn)


def narrowed(image: Image.Image, bits: int, inverted: bool) -> Image.Image:
    """Return the highest 8 of ``bits`` of gray, which a TIFF may store ``inverted``."""
    values = np.asarray(image).astype(np.int64)
    codes = values >> (bits - 8)
    if inverted:
        codes = 255 - codes
    if "transparency" in image.info:
        codes[values == image.info["transparency"]] = 0
    return Image.fromarray(codes.astype(np.uint8))


def on_black(image: Image.Image) -> Image.Image:
    """Return a picture of 8 bits a channel in mode ``L`` or ``RGB``, multiplied by its alpha."""
    gray = image.mode in {"1", "L", "LA"}
    if not image.has_transparency_data:
        return image.convert("L" if gray else "RGB")
    colored = image.convert("RGBA")
    shown = Image.new("RGB", image.size)
    shown.paste(colored, mask=colored.getchannel("A"))
    return shown.getchannel("R") if gray else shown


def pictures(image: Image.Image) -> Iterator[Image.Image]:
    """Return all pictures of a file, in order, as they are meant to be seen."""
    first = int(getattr(image, "default_image", False))
    for number in range(first, first + frames_of(image)):
        image.seek(number)
        check_showable(image, several=True)
        yield seen(image)
