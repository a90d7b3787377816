"""The manifest of ``deltamoe build``: all that a program in any language needs to run a network.

``manifest.schema.json`` is its JSON schema, made of these types by
``python -m deltamoe.make.driver``. Numbers are in bytes unless they say otherwise. All that has
several bytes is little-endian in memory.

A run: see that each of ``control.identity`` holds, in this order and before anything else, and go
no further if one does not; reserve ``memory.bytes`` bytes at an address, here *base*, that is a
multiple of ``memory.alignment``; copy the image to base + ``image.address``; for each picture,
write the input, do the writes of ``control.start``, read until ``control.ended`` holds, look
whether ``control.failed`` holds, and read the outputs. Each write of a register is answered by the
bus before the next access, else the program may seem to have ended before it began.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deltamoe.host.files import naming, read_text

NAME = "manifest.json"
IMAGE = "program.bin"
HEADER = "program.h"
HOST = "host.onnx"

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Word = Annotated[int, Field(ge=0, lt=1 << 32)]
Name = Annotated[str, Field(pattern="^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of the manifest: nothing is missing, and nothing is there that has no meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Kind = TypeVar("Kind", bound=Part)

class Weights(StrEnum):
    """Where weights come from."""

    TRAINED = "trained"
    SEEDED = "seeded"
    GIVEN = "given"


class Network(Part):
    """What is computed."""

    name: str
    task: Natural
    """Which of the network's tasks, from 0."""
    weights: Weights
    """Of a preset trained or drawn from a seed; or given in a file."""


class Hardware(Part):
    """What computes it."""

    name: str
    configuration: Word
    """Hash of the geometry and of the layout of descriptors, as the register ``configuration``
    has it. The program runs on such hardware only."""
    bus_bytes: Positive
    """Bytes of one beat on AXI."""


class File(Part):
    """A file beside the manifest."""

    name: Name
    bytes: Natural
    sha256: Sha256


class Use(StrEnum):
    """What a region of the memory holds."""

    SCRATCH = "scratch"
    PROGRAM = "program"
    WEIGHTS = "weights"
    INPUT = "input"
    OUTPUT = "output"


class Region(Part):
    """Neighboring bytes of the memory."""

    use: Use
    address: Natural
    """First byte, counted from base."""
    bytes: Positive


class Memory(Part):
    """The memory that accelerator and processor share; its contents begin at base."""

    bytes: Positive
    alignment: Positive
    """Base is a multiple of it."""
    address_bits: Positive
    """Base and all behind it lie below 2**address_bits."""
    regions: tuple[Region, ...]
    """In the order of their addresses, without gaps."""


class Image(Part):
    """Program and weights, copied to memory once."""

    file: str
    address: Natural
    """Of its first byte, counted from base."""
    bytes: Positive
    crc32: Word
    """As in zlib and in Ethernet, for drivers without SHA-256."""


class ChannelOrder(StrEnum):
    """Order of a picture's channels."""

    RGB = "RGB"
    BGR = "BGR"


class Interpolation(StrEnum):
    """Filter of a picture that is resized, by its name in Pillow."""

    NEAREST = "nearest"
    LANCZOS = "lanczos"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"


class Place(StrEnum):
    """Where a picture lies in what it is filled up to."""

    CENTER = "center"
    CORNER = "corner"


Side = Annotated[int, Field(gt=0)]
Channel = Annotated[int, Field(ge=0, le=255)]


class Folded(Part):
    """A normalization that the weights contain: (scale * pixel - mean) / std. Do not do it."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float


class Preprocessing(Part):
    """From a picture to pixels, in this order: resize, crop, order of channels, fill up.

    A side or a distance that comes out as a fraction is rounded down.
    """

    resize: tuple[Side, Side] | Side | None
    """Height and width; one number is the shorter side, and the aspect stays; null: as it is."""
    within: bool
    """Height and width are not both reached, the aspect stays; no side gets less than a pixel."""
    interpolation: Interpolation
    crop: tuple[Side, Side] | None
    """Height and width of the middle that is cut out, from half of what is too much, above and at
    the left; what lies outside the picture is black."""
    order: ChannelOrder
    pad: tuple[Side, Side] | None
    """Height and width that it is filled up to."""
    place: Place
    """In the center, half of what is missing is above and at the left of it; else nothing is."""
    color: tuple[Channel, ...]
    """What it is filled up with, by channel or one for all."""
    folded: Folded


class Input(Part):
    """Pixels of 8 bits without sign, as patches.

    Patches lie from left to right and from top to bottom. Of each come all channels, of a channel
    all rows, of a row all pixels; from each pixel ``zero`` is subtracted, modulo 256. A patch has
    ``patch_bytes`` bytes; what is left of them, and of the region, is 0.
    """

    address: Natural
    bytes: Positive
    channels: Positive
    height: Positive
    width: Positive
    patch_size: Positive
    """Rows, and columns, of a patch."""
    patch_bytes: Positive
    zero: Natural
    preprocessing: Preprocessing | None
    """null: a picture has this size already, and red, if it has colors, comes first."""


class Meaning(StrEnum):
    """What an output is."""

    TOKENS = "tokens"
    SCORES = "scores"


class ElementType(StrEnum):
    """Type of an output's elements."""

    INT16 = "int16"


class Output(Part):
    """Integers that the accelerator writes, row by row."""

    meaning: Meaning
    address: Natural
    bytes: Positive
    type: ElementType
    shape: tuple[Positive, ...]
    """Of tokens: tokens and elements. Of scores: classes, the largest one is the network's."""
    scale: Annotated[float, Field(gt=0)] | None
    """Integers of one; null: not known, scores can be compared with each other only."""


class Value(StrEnum):
    """How a write's value is meant."""

    NUMBER = "number"
    ADDRESS_LOW = "address-low"
    ADDRESS_HIGH = "address-high"


class Write(Part):
    """A register to write: ``value``, or the lower or upper 32 bits of base + ``value``."""

    register_: Annotated[str, Field(alias="register")]
    offset: Word
    kind: Value
    value: Natural


class Condition(Part):
    """A register holds ``value`` in the bits of ``mask``."""

    register_: Annotated[str, Field(alias="register")]
    offset: Word
    mask: Word
    value: Word


class Identity(Condition):
    """A condition of the accelerator that the program is for."""

    otherwise: str
    """What is the case if it does not hold."""


class Error(Part):
    """What a code of an error means."""

    code: Positive
    name: str
    meaning: str


class Counter(Part):
    """A counter of 64 bits, the lower half first."""

    name: str
    offset: Word
    meaning: str


class Control(Part):
    """Registers of 32 bits, by their offset in bytes."""

    identity: tuple[Identity, ...]
    """Hold of every accelerator that this manifest is for."""
    start: tuple[Write, ...]
    """In this order. The last one starts the program."""
    ended: Condition
    """Holds when the program has ended, well or not."""
    failed: Condition
    """Holds then if it ended with an error."""
    error_code: Word
    """Offset of the register of the error."""
    error_index: Word
    """Offset of the register of the descriptor that it belongs to."""
    errors: tuple[Error, ...]
    reset: tuple[Write, ...]
    """End a program, whatever it does."""
    acknowledge: tuple[Write, ...]
    """Take the interrupt of a program that has ended, as the next start does, too."""
    quiet: Condition
    """Holds after a reset once the memory has answered all that was asked of it before."""
    counters: tuple[Counter, ...]


class HostPart(Part):
    """An ONNX model that makes the user's outputs of the tokens."""

    file: str
    input: str
    """Name of its input: float32, of the shape 1, tokens, elements; the tokens over ``scale``."""
    outputs: tuple[str, ...]


class Manifest(Part):
    """All that a program in any language needs to run a network."""

    format: Literal["deltamoe-build"]
    version: Literal[2]
    network: Network
    hardware: Hardware
    files: tuple[File, ...]
    memory: Memory
    image: Image
    input: Input
    outputs: tuple[Output, ...]
    control: Control
    descriptors: tuple[str, ...]
    """What each descriptor of the program is for, by its index."""
    host: HostPart | None
    """null: the outputs are the user's."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        """Refuse parts that belong to another network."""
        sizes = {file.name: file.bytes for file in self.files}
        if sizes.get(self.image.file) != self.image.bytes:
            raise ValueError(f"image is not a file of {self.image.bytes} bytes")
        if self.host and self.host.file not in sizes:
            raise ValueError("host is not one of the files")
        for part in (self.image, self.input, *self.outputs):
            if part.address + part.bytes > self.memory.bytes:
                raise ValueError(f"{part.address + part.bytes} is beyond the memory of "
                                 f"{self.memory.bytes} bytes")
        return self

    def text(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"


def schema() -> str:
    """Return the JSON schema's text."""
    return json.dumps({"$schema": DIALECT} | Manifest.model_json_schema(), indent=2) + "\n"


def valid(kind: type[Kind], text: str, source: str) -> Kind:
    """Return JSON as a part.

    Raises
    ------
    ValueError
        Names, in one line, the ``source``, the place in it and what is wrong there.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise ValueError(": ".join(filter(None, (source, place, said)))) from None


def parsed(text: str, source: str = NAME) -> Manifest:
    """Return a manifest.

    Raises
    ------
    ValueError
        As :func:`valid`.
    """
    return valid(Manifest, text, source)


def read(folder: Path) -> Manifest:
    """Return the manifest of a folder whose files are those that it names.

    Raises
    ------
    ValueError
        The manifest is not one, or a file is another; says which.
    OSError
        A file cannot be read.
    """
    path = folder / NAME
    manifest = parsed(read_text(path), str(path))
    for file in manifest.files:
        if sha256(content(folder / file.name)) != file.sha256:
            raise ValueError(f"{folder / file.name} is not the file that {path} names: its SHA-256 "
                             "is another")
    return manifest


def content(path: Path) -> bytes:
    """Return a file's bytes."""
    with naming(path):
        return path.read_bytes()


def sha256(data: bytes) -> str:
    """Return a hash as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
