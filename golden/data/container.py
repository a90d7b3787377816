"""How much of a video file is missing, by what its container says of its own length.

A cut file rarely fails to decode. MP4, Matroska, AVI and ASF state in bytes how long they are,
and so do the blocks of MXF; MPEG-TS is of whole packets, Y4M of whole frames, and Motion JPEG ends
with a marker. Of a file that was written while it was sent (fragmented MP4, live Matroska) it can
be said that a block is cut, but not that blocks are missing; of the other kinds (MPEG-PS, raw
H.264) nothing.
"""

from collections.abc import Callable
from pathlib import Path

Length = Callable[[bytes], int | None]

TRANSPORT_PACKETS = (188, 192, 204)
"""Bytes of a packet of MPEG-TS: plain, with a time stamp (Blu-ray), with parity."""

ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Identity of ASF's file properties; its length, an identity of 16 bytes and the size follow."""

MXF_KEY = bytes.fromhex("060e2b34")

LONGEST_HEAD = 32
"""Bytes that state a block's length, at most: 25 of MXF, 16 of the others."""

END_OF_IMAGE = b"\xff\xd9"


def box(head: bytes) -> int | None:
    """Return the length of a box of MP4 and QuickTime (ISO/IEC 14496-12); None if it is open."""
    length = int.from_bytes(head[:4], "big")
    if length == 1:
        length = int.from_bytes(head[8:16], "big")
    return length if length >= 8 else None


def element(head: bytes) -> int | None:
    """Return the length of an element of Matroska and WebM (RFC 8794); None if there is none.

    Of one of unknown length it is that of its head, behind which its own elements follow.
    """
    name = 9 - head[0].bit_length()
    width = 9 - head[name].bit_length() if name < 9 else 9
    if width == 9:
        return None
    unknown = (1 << 7 * width) - 1
    length = int.from_bytes(head[name : name + width], "big") & unknown
    return name + width + length * (length != unknown)


def chunk(head: bytes) -> int | None:
    """Return the length of a RIFF chunk of AVI; None if it was never stated."""
    length = int.from_bytes(head[4:8], "little")
    return 8 + length if head[:4] == b"RIFF" and length not in {0, 0xFFFFFFFF} else None


def triplet(head: bytes) -> int | None:
    """Return the length of a triplet of MXF (SMPTE 336): a key, a length and a value."""
    if not head.startswith(MXF_KEY):
        return None
    width = head[16] & 127 if head[16] & 128 else 0
    length = int.from_bytes(head[17 : 17 + width], "big") if width else head[16]
    return 17 + width + length


BLOCKS: dict[str, Length] = {
    "mov,mp4,m4a,3gp,3g2,mj2": box, "matroska,webm": element, "avi": chunk,
    "mxf": triplet}
"""How long the blocks of a container are, by FFmpeg's names."""


def bytes_missing(path: Path, kind: str, end: int) -> int:
    """Return how many bytes a file lacks at least; 0 if none or if that cannot be told.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        FFmpeg's name of its container.
    end : int
        Where its last packet ends.
    """
    size = path.stat().st_size
    if kind in BLOCKS:
        return blocks_missing(path, size, BLOCKS[kind])
    if kind == "asf":
        return max(0, asf_size(path) - size)
    if kind == "mpegts":
        return min(-size % packet for packet in TRANSPORT_PACKETS)
    if kind == "yuv4mpegpipe":
        return int(end < size)
    if kind == "mjpeg":
        return len(END_OF_IMAGE) * (not path.read_bytes().rstrip(b"\0").endswith(END_OF_IMAGE))
    return 0


def blocks_missing(path: Path, size: int, length_of: Length) -> int:
    """Return how far the last block reaches behind the end of the file."""
    position = 0
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            length = length_of(file.read(LONGEST_HEAD).ljust(LONGEST_HEAD, b"\0"))
            if length is None:
                return 0
            position += length
    return position - size


def asf_size(path: Path) -> int:
    """Return the size that an ASF file states; 0 if it states none."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    place = head.find(ASF_PROPERTIES) + 40
    return 0 if place < 40 else int.from_bytes(head[place : place + 8], "little")
