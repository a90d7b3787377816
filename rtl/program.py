"""The program: fixed-size descriptors that say what the accelerator computes.

A descriptor is 64 bytes, little-endian. There is a type for each opcode: its fields are packed from
bit 0 in the order of their definition, those of its base classes first, behind the opcode. So what
opcodes share is in the same bits of each; :func:`layout` tells where.

``LOAD`` runs beside the compute opcodes (``LINEAR``, ``ATTENTION``, ``STORE``), which are issued
and finish in order but overlap. Counts order them: a compute descriptor is issued once
``wait_loads`` loads and ``wait_computes`` compute descriptors of the program have finished, a load
once ``wait_computes`` compute descriptors and ``wait_stores`` transfers of ``STORE`` have. With
``by_row``, the last of these compute descriptors need not have finished as a whole: row ``r``
waits for its row ``r``, and in ``ATTENTION`` only the sums of values wait for it. A ``STORE`` of
what is kept has finished once it is queued, and its transfer runs beside; one of the residual
stream waits for all transfers and has finished with its own.
"""

from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cache
from typing import Any, ClassVar, NamedTuple

from deltamoe.golden.numerics import LONG_ROW, SHIFTS
from deltamoe.rtl.cycles import DESCRIPTOR_BYTES

OPCODE_BITS = 4


class Opcode(IntEnum):
    """What a descriptor does."""

    LOAD = 1
    LINEAR = 2
    ATTENTION = 3
    STORE = 4
    HALT = 5


class Target(IntEnum):
    """Memory that a ``LOAD`` fills and a ``STORE`` (of the last two or the residual) reads."""

    WEIGHTS = 0
    PARAMETERS = 1
    NORM = 2
    TABLE = 3
    RESIDUAL = 4
    IMAGE = 5
    PROGRAM = 6
    STATE = 7
    REFERENCE = 8


class Source(IntEnum):
    """Memory whose rows are the left operand."""

    NORMED = 0
    ACT = 1
    PROBABILITIES = 2
    REFERENCE = 3


class Dest(IntEnum):
    """What happens to the product."""

    ACT = 0
    KEY = 1
    VALUE = 2
    HIDDEN = 3
    RESIDUAL = 4
    COMBINE = 5
    OUTPUT = 6
    GATE = 7
    SCORES = 8
    CHANGED = 9


class Mode(IntEnum):
    """Which operand elements become events.

    All; those that are not the zero point; those that differ from the reference, which follows,
    so that the sums kept from before stay those of the reference; none, the sums kept are final.
    """

    DENSE = 0
    ZERO_SKIP = 1
    DELTA = 2
    REPLAY = 3


class ErrorCode(IntEnum):
    """Why the accelerator stopped.

    ``OPCODE`` unknown; ``FIELD`` a field outside its maximum; ``RANGE`` beyond the end of an
    on-chip memory; ``ADDRESS`` unaligned, empty or beyond ``memory_size``; ``BUS`` memory answered
    with an error; ``DEADLOCK`` a compute descriptor and the loads wait for each other (its index
    is reported, or the load's if all compute descriptors are done); ``LENGTH`` no ``HALT`` within
    the program, or more descriptors than fit; ``WATCHDOG`` nothing moved for too long.
    """

    NONE = 0
    OPCODE = 1
    FIELD = 2
    RANGE = 3
    ADDRESS = 4
    BUS = 5
    DEADLOCK = 6
    LENGTH = 7
    WATCHDOG = 8


class Field(NamedTuple):
    """A field of a descriptor: first bit and bits, type of its values, their unit, their meaning.

    The unit is what the value counts, or what it numbers.
    """

    name: str
    offset: int
    width: int
    kind: type[int]
    unit: str
    meaning: str


GANG, POWER = "index in `gangs`", "exponent of 2"
"""Units of fields that hold a number of lane groups: its place in ``HwConfig.gangs``, or its
logarithm."""


def bits(width: int, unit: str, meaning: str) -> Any:
    """Declare a field of ``width`` bits, an integer."""
    return field(default=0, metadata={"bits": width, "unit": unit, "meaning": meaning})


def named(width: int, meaning: str, default: IntEnum) -> Any:
    """Declare a field of ``width`` bits whose values have the names of an enumeration."""
    return field(default=default, metadata={
        "bits": width, "unit": f"`{type(default).__name__}`", "meaning": meaning})


def flag(meaning: str) -> Any:
    """Declare a field of one bit that is set if the ``meaning`` holds."""
    return field(default=False, metadata={"bits": 1, "unit": "flag", "meaning": meaning})


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What all descriptors have: an opcode. Fields that are not named are zero."""

    opcode: ClassVar[Opcode]


@dataclass(frozen=True, kw_only=True)
class Waiting(Descriptor):
    """A descriptor that waits for others."""

    wait_computes: int = bits(16, "descriptors", "compute descriptors that must have finished")


@dataclass(frozen=True, kw_only=True)
class Beside(Waiting):
    """A descriptor that runs beside the compute descriptors."""

    wait_stores: int = bits(16, "transfers", "transfers of `STORE` that must have finished")


@dataclass(frozen=True, kw_only=True)
class Compute(Waiting):
    """A compute descriptor: one of those that are issued and finish in order."""

    wait_loads: int = bits(16, "loads", "loads that must have finished")


@dataclass(frozen=True, kw_only=True)
class Transfer(Waiting):
    """A transfer between memory and a memory on the chip.

    In memory a kept sum is an int32, so a word of them two beats; two words of references are one
    beat.
    """

    target: Target = named(4, "memory on the chip", Target.WEIGHTS)
    address: int = bits(32, "bytes", "where it begins in memory, counted from `memory_low` and "
                         "`memory_high`")
    beats: int = bits(24, "beats", "length of the transfer on AXI")
    base: int = bits(16, "words", "where it begins in the memory on the chip; of weights in rows, "
                      "of the program in descriptors")


@dataclass(frozen=True, kw_only=True)
class Load(Transfer, Beside):
    """Fill a memory on the chip.

    With ``skip_if_empty`` the load is skipped if ``expert`` has no tokens and ``routed`` compute
    descriptors have finished, which tells that the routing is known. Weights come in
    tiles of one word for each lane.
    """

    opcode = Opcode.LOAD

    skip_if_empty: bool = flag("1: skip the load if `expert` has no tokens")
    expert: int = bits(8, "number", "expert whose tokens decide whether it is skipped")
    routed: int = bits(16, "descriptors", "compute descriptors after which the routing is known")
    span: int = bits(4, GANG, "of weights: groups of the span")
    passes: int = bits(12, "passes", "of weights: passes over the columns")
    tile_rows: int = bits(16, "rows", "of weights: rows of a tile")
    tiles: int = bits(16, "tiles", "of weights: how many tiles come")
    bank: int = bits(1, "number", "of a table: bank of the activation table")
    descriptors: int = bits(16, "descriptors", "of the program: how many come")


@dataclass(frozen=True, kw_only=True)
class Store(Transfer, Compute):
    """Write the residual stream, kept sums or references to memory."""

    opcode = Opcode.STORE


@dataclass(frozen=True, kw_only=True)
class Operator(Compute):
    """What ``LINEAR`` and ``ATTENTION`` have in common.

    Bases and strides count words of their memory, or its rows if it is that of weights or of keys
    and values. Head ``h`` lives in the ``h % sets``-th set of groups, where ``2**spread``
    neighboring groups hold different tiles of it, and ``2**head_split`` times as many different
    parts of each sum; ``set_size`` indexes ``HwConfig.gangs``.
    """

    by_row: bool = flag("1: each row waits only for the same row of the last one waited for")
    mode: Mode = named(2, "which elements of the operand become events; in `ATTENTION` only "
                       "`DENSE` and `ZERO_SKIP` are allowed", Mode.DENSE)
    rows: int = bits(16, "rows", "tokens, if they are not those of a queue")
    source_base: int = bits(16, "words", "first word of the operand; in `ATTENTION`, of "
                            "the queries")
    source_stride: int = bits(16, "words", "from one row of the operand to the next")
    dest_base: int = bits(16, "words", "first word of what is written; of keys and values in rows")
    dest_stride: int = bits(16, "words", "from one row of what is written to the next")
    param_base: int = bits(16, "words", "first word of biases and multipliers; in `ATTENTION` "
                           "one word for each head, with biases of zero and, in each element, the "
                           "multiplier of its scores")
    shift: int = bits(2, "index in `SHIFTS`", "requantization, in `ATTENTION` of the scores, "
                      "divides by "
                      f"{', '.join(f'2**{shift} ({n})' for n, shift in enumerate(SHIFTS))}")
    heads: int = bits(8, "heads", "attention heads")
    head_words: int = bits(8, "words", "row of a head; in `ATTENTION` exactly `head_dim` / "
                           "`HwConfig.word`")
    set_size: int = bits(4, GANG, "groups of a set")
    spread: int = bits(3, POWER, "2**`spread` neighboring groups of a set hold different tiles of "
                       "a head: of its values in the layer that makes them, else of its keys")
    head_split: int = bits(3, POWER, "2**`head_split` such gangs of a set hold different parts of "
                           "the sums over these tiles")


@dataclass(frozen=True, kw_only=True)
class Linear(Operator):
    """A layer: rows times weights, and what goes before and behind.

    ``columns`` are whole words: of keys and values ``heads * head_words`` words, of a gate two for
    each expert. ``gang`` neighboring groups hold different columns, ``2**split`` such gangs
    different parts of the sum, and ``span`` is their product. ``wide`` reads ``read_words`` words
    of activations at a time, each for every ``read_words``-th of these parts; the gang must be
    ``read_gang``.

    ``state_base`` is the first word of the kept sums, row by row; ``reference_base`` that of the
    reference, laid out as the operand is; differences up to ``theta`` are left out. A row of an
    expert has a place of its own, one of the ``places``: ``slots`` for each token, their sums
    ``dest_stride`` and their references ``source_stride`` words apart. ``keeps`` leaves the
    reference as it is, for another descriptor with the same operand. ``gated`` tells the gate that
    tokens which did not change since ``Dest.CHANGED`` go to their experts' silent queues,
    ``max_experts`` further on; with ``routes``, ``Dest.CHANGED`` does so itself, to queue 0.
    ``remembers`` tells the gate that what is kept of an expert is of use while a token stays with
    it. ``adds`` adds the kept sums of a part of the layer's inputs to those of another.
    """

    opcode = Opcode.LINEAR

    source: Source = named(2, "memory of the left operand", Source.NORMED)
    dest: Dest = named(4, "where the product goes", Dest.ACT)
    depth: int = bits(16, "elements", "length of the sum")
    columns: int = bits(16, "elements", "outputs of a row, a multiple of a word")
    passes: int = bits(12, "passes", "passes over the columns")
    weight_base: int = bits(16, "rows", "first row of weights")
    gang: int = bits(4, GANG, "groups of a gang")
    split: int = bits(3, POWER, "2**`split` gangs hold different parts of the sum")
    span: int = bits(4, GANG, "groups of a span: those of a gang times 2**`split`")
    wide: bool = flag("1: read `read_words` words of activations at a time")
    operand_signed: bool = flag("1: the operand is int8, else uint8")
    zero_point: int = bits(8, "codes", "code of zero, which zero-skipping leaves out")
    bank: int = bits(1, "number", "bank of the activation table")
    gather: bool = flag("1: read the rows of the tokens in the `queue`")
    scatter: bool = flag("1: write the rows of the tokens in the `queue`")
    queue: int = bits(8, "number", "queue of tokens: an expert's, or its silent one")
    key_gap: int = bits(16, "rows", "of keys: from the end of a head's first tile to the next "
                        "head's first")
    norm: bool = flag("1: normalize the rows of the residual stream first")
    rms: bool = flag("1: subtract no mean then, RMSNorm in place of LayerNorm")
    norm_base: int = bits(16, "words", "first word of the normalization's parameters")
    norm_source: int = bits(16, "words", "first word of the residual stream that is normalized")
    dim: int = bits(16, "elements", "length of a normalized row")
    epsilon: int = bits(32, "squared codes", "what is added to `dim`**2 times a row's variance")
    gain_shift: int = bits(4, "bits", "fraction of the normalization's gain")
    num_experts: int = bits(8, "experts", "of a gate: experts that it scores")
    top_k: int = bits(4, "experts", "of a gate: experts of a token")
    multiplier: int = bits(16, "integer", "of a gate: scale of the logits to 1/256 octaves, "
                           "before they are divided as `shift` says")
    gated: bool = flag("1: of a gate: tokens that did not change go to their experts' silent "
                       "queues")
    remembers: bool = flag("1: of a gate: keep which experts the tokens have")
    remembered_base: int = bits(16, "tokens", "of a gate: first entry of the experts that it "
                                "remembers")
    routes: bool = flag("1: of a probe: tokens that changed go to queue 0, others to its silent "
                        "one")
    state_base: int = bits(16, "words", "first word of the kept sums")
    reference_base: int = bits(16, "words", "first word of the references")
    theta: int = bits(8, "codes", "largest difference that is left out")
    places: int = bits(16, "places", "places of rows whose sums are kept by token and expert")
    slots: int = bits(4, "places", "places of a token")
    fresh: bool = flag("1: nothing was kept before; send all elements")
    keeps: bool = flag("1: leave the reference, since another descriptor has the same operand")
    stores: bool = flag("1: keep the sums of a dense layer")
    adds: bool = flag("1: add the kept sums to those of a dense layer")

    @property
    def queued(self) -> bool:
        """Whether its rows are the tokens of a queue."""
        return self.gather or self.scatter


@dataclass(frozen=True, kw_only=True)
class Attention(Operator):
    """The two products of attention, of all heads.

    Operand are the queries, in the memory of activations, where the results go, too. The parameters
    are the multipliers of the scores, a word for each head.
    """

    opcode = Opcode.ATTENTION

    head_dim: int = bits(16, "elements", "length of a head's row of queries, keys or values")
    key_base: int = bits(16, "rows", "first row of the keys in the memory of keys and values")
    value_base: int = bits(16, "rows", "first row of the values in the same memory")
    value_spread: int = bits(3, POWER, "of the 2**(`spread` + `head_split`) groups that work on a "
                             "head together, 2**`value_spread` neighbors hold different tiles of "
                             "its values; the rest hold parts of their sums")
    kappa22: int = bits(32, "2**-22", "scale of the values over that of the result; divided by a "
                        "row's sum of exponentials it is the multiplier of the row's result; for "
                        f"rows whose sum is below {LONG_ROW}")
    kappa26: int = bits(32, "2**-26", "the same for all other rows")
    last_key: bool = flag("1: the scores of the last key, which would be alone in its tile, are "
                          "made beside the groups; it must be of the last operator with "
                          "`Dest.KEY`. Only with `HwConfig.last_key`")


@dataclass(frozen=True, kw_only=True)
class Halt(Descriptor):
    """The end of the program."""

    opcode = Opcode.HALT


KINDS: tuple[type[Descriptor], ...] = (Load, Linear, Attention, Store, Halt)
"""The types of descriptors, in the order of their opcodes."""


@cache
def layout(kind: type[Descriptor]) -> tuple[Field, ...]:
    """Return the fields of a type of descriptors, from bit 0 on; the first is the opcode."""
    placed = [Field("opcode", 0, OPCODE_BITS, Opcode, "`Opcode`", "what the descriptor does")]
    for declared in fields(kind):
        if "bits" in declared.metadata:
            last = placed[-1]
            placed.append(Field(declared.name, last.offset + last.width, declared.metadata["bits"],
                                type(declared.default), declared.metadata["unit"],
                                declared.metadata["meaning"]))
    return tuple(placed)


def pack(descriptor: Descriptor) -> bytes:
    """Encode a descriptor.

    Raises
    ------
    ValueError
        The value of a field does not fit.
    """
    word = 0
    for name, offset, width, *_ in layout(type(descriptor)):
        value = int(getattr(descriptor, name))
        if not 0 <= value < 1 << width:
            raise ValueError(f"descriptor field {name}={value} is not in 0..{(1 << width) - 1}")
        word |= value << offset
    return word.to_bytes(DESCRIPTOR_BYTES, "little")


def unpack(raw: bytes) -> Descriptor:
    """Decode a descriptor.

    Raises
    ------
    ValueError
        No opcode, target, source, destination or mode has this number.
    """
    word = int.from_bytes(raw, "little")
    opcode = Opcode(word & (1 << OPCODE_BITS) - 1)
    kind = next(kind for kind in KINDS if kind.opcode == opcode)
    return kind(**{name: value_type(word >> offset & (1 << width) - 1)
                   for name, offset, width, value_type, *_ in layout(kind)[1:]})
