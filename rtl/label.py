"""What a descriptor is there for, as a value; reports and traces print it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from deltamoe.golden.operators import Operator


class Subject(Protocol):
    """What a descriptor does something for.

    An operator or one of its products, an operand that several share, or the name of anything
    else: of a normalization, of the image.
    """

    def __str__(self) -> str: ...

    def __hash__(self) -> int: ...


class What(StrEnum):
    """What of its subject a descriptor moves."""

    WEIGHTS = "weights"
    PARAMETERS = "parameters"
    STATE = "state"
    SUMS = "sums"
    REFERENCE = "reference"


class Role(StrEnum):
    """What a descriptor does, if it does not compute its subject."""

    LOAD = "load"
    STORE = "store"
    PROBE = "probe"
    REPLAY = "replay"


class Section(NamedTuple):
    """Where a part of an operator begins, if it comes in several: at which row of its operand.

    ``depth`` is the first element of its sums.
    """

    row: int = 0
    depth: int = 0


@dataclass(frozen=True)
class Label:
    """What a descriptor is there for.

    Attributes
    ----------
    subject : Subject
        What it does something for.
    role : Role, optional
        What it does; None if it computes its subject.
    what : What, optional
        What it moves; None for all that there is.
    columns, rows : int, optional
        Of a block that is moved, the first word of its columns and its first row.
    section : Section, optional
        Of a part of an operator, where it begins; None if it is no part. It is neither printed nor
        compared: the labels of all parts are equal.
    """

    subject: Subject
    role: Role | None = None
    what: What | None = None
    columns: int | None = None
    rows: int | None = None
    section: Section | None = field(default=None, compare=False)

    def __str__(self) -> str:
        words = (self.subject, self.columns, self.what, self.rows, self.role)
        return ".".join(str(word) for word in words if word is not None)

    @property
    def operator(self) -> Operator | None:
        """The operator or product that is its subject, if it is one of our networks'."""
        return self.subject if isinstance(self.subject, Operator) else None


PROGRAM = Label("program")
"""What the program's own pieces are for, which belong to no operator."""
