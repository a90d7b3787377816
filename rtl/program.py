"""The program: fixed-size descriptors that say what the accelerator computes.

A descriptor is 64 bytes, little-endian, its fields packed from bit 0 in the order of ``FIELDS``.
``LOAD`` runs beside the compute opcodes (``LINEAR``, ``ATTENTION``, ``STORE``), which are issued
and finish in order but overlap. Two counts order them: a compute descriptor is issued once
``wait_loads`` loads and ``wait_computes`` compute descriptors of the program have finished, a
load once ``wait_computes`` compute descriptors have, and ``wait_loads`` transfers of ``STORE``.
With ``by_row``, the last of these compute descriptors need not have finished as a whole: row ``r``
waits for its row ``r``, and in ``ATTENTION`` only the sums of values wait for it. A ``STORE`` of
what is kept has finished once it is queued, and its transfer runs beside; one of the residual
stream waits for all transfers and has finished with its own.
"""

from collections.abc import Mapping
from enum import IntEnum

from deltamoe.rtl.cycles import DESCRIPTOR_BYTES


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


FIELDS: dict[str, int] = {
    "opcode": 4, "target": 4, "source": 2, "dest": 4, "mode": 2,
    "norm": 1, "gather": 1, "scatter": 1, "skip_if_empty": 1, "operand_signed": 1, "bank": 1,
    "by_row": 1, "shift": 2, "gang": 4, "split": 3, "span": 4, "set_size": 4,
    "spread": 3, "wide": 1,
    "top_k": 4, "gain_shift": 4, "head_words": 8,
    "wait_loads": 16, "wait_computes": 16, "routed": 16,
    "address": 32, "beats": 24, "expert": 8,
    "rows": 16, "depth": 16, "columns": 16, "passes": 12,
    "source_base": 16, "source_stride": 16, "dest_base": 16, "dest_stride": 16,
    "weight_base": 16, "param_base": 16, "norm_base": 16, "norm_source": 16,
    "epsilon": 32, "kappa22": 32, "kappa26": 32,
    "multiplier": 16, "num_experts": 8, "heads": 8, "zero_point": 8, "dim": 16,
}
"""Field widths in bits.

``rows`` tokens (or expert rows are taken from the queue of ``expert`` if ``gather``/``scatter``);
``depth`` is the length of the sum; ``columns`` the outputs of one row, a multiple of a word: of
keys and values ``heads * head_words`` words, of a gate two for each expert, in whole words;
``gang``, ``span`` and ``set_size`` index ``HwConfig.gangs``: ``gang`` neighboring groups hold
different columns, ``2**split`` such gangs different parts of the sum, and ``span`` is their
product; ``passes`` column passes of an item. ``wide`` reads ``read_words`` words of activations
at a time, each for every ``read_words``-th of these parts; the gang must be ``read_gang``.
Head ``h`` lives in the ``h % sets``-th set of ``set_size`` groups, where ``2**spread`` neighboring
groups hold different tiles of it. All bases and strides count words of their memory, ``address``
bytes, ``beats`` AXI data beats. For
``ATTENTION``, ``columns`` is ``head_dim``, ``weight_base`` the keys' first row and ``norm_base``
the values'; for ``LOAD`` of weights, ``depth`` is the rows of a tile and ``columns`` the tiles;
with ``skip_if_empty`` it is skipped if ``expert`` has no tokens and ``routed`` compute descriptors
have finished, which tells that the routing is known; for ``LOAD`` of the program, ``rows``
descriptors go to place ``dest_base`` of the program memory.
``norm_source`` is the residual's first word for the fused normalization, and the first word that
``STORE`` reads. In memory a kept sum is an int32, so a word of them two beats; two words of
references are one beat.
"""

TEMPORAL: dict[str, int] = {
    "state_base": 16, "reference_base": 16, "theta": 8, "places": 16,
    "fresh": 1, "keeps": 1, "stores": 1, "gated": 1, "remembers": 1, "spare": 3,
}
"""Widths in bits of what ``LINEAR`` has in the place of ``kappa22`` and ``kappa26``.

``state_base`` is the first word of the kept sums, row by row; ``reference_base`` that of the
reference, laid out as the operand is; differences up to ``theta`` are left out. A row of an expert
has a place of its own, one of the ``places``: ``top_k`` for each token, their sums ``dest_stride``
and their references ``source_stride`` words apart. ``fresh`` sends all elements and forgets what
was kept; ``keeps`` leaves the reference as it is, for another descriptor with the same operand;
``stores`` keeps the sums of a dense layer; ``gated`` tells the gate that tokens which did not
change since ``Dest.CHANGED`` go to their experts' silent queues, ``max_experts`` further on.
``remembers`` tells it that what is kept of an expert is of use while a token stays with it: the
tokens' experts are kept from entry ``places`` on.
"""


def packed(fields: Mapping[str, int], widths: Mapping[str, int]) -> int:
    """Return fields side by side, the first of ``widths`` lowest; unnamed ones are zero."""
    value, position = 0, 0
    for name, width in widths.items():
        value |= int(fields.get(name, 0)) << position
        position += width
    return value


def pack(fields: Mapping[str, int]) -> bytes:
    """Encode one descriptor; unnamed fields are zero.

    Raises
    ------
    ValueError
        A field is unknown or its value does not fit.
    """
    unknown = set(fields) - set(FIELDS) - set(TEMPORAL)
    if unknown:
        raise ValueError(f"unknown descriptor field {sorted(unknown)[0]!r}")
    widths = FIELDS | TEMPORAL
    for name, item in fields.items():
        if not 0 <= item < 1 << widths[name]:
            raise ValueError(f"descriptor field {name}={int(item)} is not in "
                             f"0..{(1 << widths[name]) - 1}")
    if fields.keys() & TEMPORAL.keys():
        kept = packed(fields, TEMPORAL)
        fields = {name: item for name, item in fields.items() if name not in TEMPORAL}
        fields |= {"kappa22": kept & 0xFFFFFFFF, "kappa26": kept >> 32}
    return packed(fields, FIELDS).to_bytes(DESCRIPTOR_BYTES, "little")


def unpack(raw: bytes) -> dict[str, int]:
    """Decode one descriptor into all of its fields."""
    value, fields = int.from_bytes(raw, "little"), {}
    for name, width in FIELDS.items():
        fields[name] = value & ((1 << width) - 1)
        value >>= width
    return fields
