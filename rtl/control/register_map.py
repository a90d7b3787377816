"""The registers: the one description that circuit, drivers, packages and documents are made of.

It needs no Amaranth, so that a driver can read it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.program import KINDS, layout

MAGIC = 0x44654D6F
"""The letters ``DeMo``, the first one in the upper bits."""
VERSION = 2
"""Of this description. Another one may have any register elsewhere but the first two."""
COUNTERS_OFFSET = 0x100
SPACE = 1 << 12
"""Bytes of the registers' address space."""
WATCHDOG = 1 << 20
"""Patience at reset: 3.5 ms at 300 MHz."""

IRRELEVANT = frozenset({"name", "packed", "block_queues", "banks", "attention_lag", "queue_words",
                        "burst_beats", "outstanding", "memory_ports"})
"""Parameters of ``HwConfig`` that no program depends on: they change cycles or area, and no bit of
what the compiler writes or of what the accelerator accepts."""


def configuration(hw: HwConfig) -> int:
    """Return a hash of all of a geometry that a program depends on: the program fits no other.

    The first 32 bits of the SHA-256 of the JSON text, with sorted keys, of a list of two: the
    parameters of ``hw`` but those in :data:`IRRELEVANT`; and for each kind of descriptor, name,
    first bit and width of each of its fields. So the same geometry has the same hash in every
    release, until a parameter is added or the layout of descriptors changes.
    """
    geometry = {name: value for name, value in asdict(hw).items() if name not in IRRELEVANT}
    fields = {kind.__name__: [field[:3] for field in layout(kind)] for kind in KINDS}
    text = json.dumps([geometry, fields], sort_keys=True)
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


class Access(StrEnum):
    """What a processor can do with a register.

    ``READ`` it, while writes are ignored. ``WRITE`` a one to a bit, which is a command, while it
    reads as 0. ``BOTH``: it reads what was written last. ``CLEAR``: it reads what the circuit has
    set, and a one that is written clears its bit, while a zero changes nothing.
    """

    READ = "r"
    WRITE = "w"
    BOTH = "rw"
    CLEAR = "w1c"

    @property
    def readable(self) -> bool:
        """Whether the register does not always read as 0."""
        return self is not Access.WRITE


@dataclass(frozen=True)
class Field:
    """Neighboring bits of a register.

    Attributes
    ----------
    name, meaning : str
        What they are called, and what they say.
    low, width : int
        Place of the first one, and how many.
    reset : int
        Their value after a reset.
    constant : callable, optional
        Their only value, by the geometry.
    """

    name: str
    low: int
    width: int
    meaning: str
    reset: int = 0
    constant: Callable[[HwConfig], int] | None = None

    @property
    def mask(self) -> int:
        """Ones at their place."""
        return (1 << self.width) - 1 << self.low

    @property
    def bits(self) -> str:
        """Last and first bit, as Verilog has them."""
        return f"{self.low + self.width - 1}:{self.low}" if self.width > 1 else str(self.low)

    def of(self, word: int) -> int:
        """Return their value in a word."""
        return (word & self.mask) >> self.low


@dataclass(frozen=True)
class Register:
    """A register of 32 bits; those of no field read as 0, and what is written to them is lost.

    Attributes
    ----------
    offset : int
        In bytes.
    access : Access
        What a processor can do with it.
    meaning : str
        What it holds.
    fields : tuple of Field
        From the lowest bit on. A register that holds one number has the one field ``value``.
    """

    offset: int
    access: Access
    meaning: str
    fields: tuple[Field, ...]

    @property
    def reset(self) -> int:
        """Value after a reset."""
        return sum(field.reset << field.low for field in self.fields)

    @property
    def constant(self) -> bool:
        """Whether it never changes."""
        return all(field.constant for field in self.fields)

    @property
    def number(self) -> bool:
        """Whether it holds one number, and no fields with names."""
        return self.fields[0].name == "value"

    @property
    def width(self) -> int:
        """Bits up to the last one that has a meaning."""
        return max(field.low + field.width for field in self.fields)

    def mask(self, *names: str) -> int:
        """Return ones at the places of fields.

        Raises
        ------
        KeyError
            It has no such field.
        """
        known = {field.name: field.mask for field in self.fields}
        return sum(known[name] for name in names)


def number(offset: int, access: Access, meaning: str, width: int = 32, reset: int = 0,
           constant: Callable[[HwConfig], int] | None = None) -> Register:
    """Return a register that holds one number."""
    return Register(offset, access, meaning,
                    (Field("value", 0, width, meaning, reset, constant),))


REGISTERS: Mapping[str, Register] = {
    "magic": number(0x00, Access.READ, f"0x{MAGIC:08x}: this is an accelerator",
                    constant=lambda _: MAGIC),
    "version": number(0x04, Access.READ, f"{VERSION}: the registers are these",
                      constant=lambda _: VERSION),
    "configuration": number(0x08, Access.READ, "hash of the geometry that a program is built for",
                            constant=configuration),
    "array": Register(0x0C, Access.READ, "the multipliers", (
        Field("groups", 0, 8, "lane groups", constant=lambda hw: hw.groups),
        Field("lanes", 8, 8, "multipliers of a lane group", constant=lambda hw: hw.lanes))),
    "maxima": Register(0x10, Access.READ, "the largest network", (
        Field("tokens", 0, 16, "tokens", constant=lambda hw: hw.max_tokens),
        Field("embed", 16, 16, "elements of a token", constant=lambda hw: hw.max_embed))),
    "bus": Register(0x14, Access.READ, "the way to memory", (
        Field("bytes", 0, 8, "bytes of a beat of AXI4", constant=lambda hw: hw.bus_bytes),
        Field("ports", 8, 8, "AXI4 interfaces", constant=lambda hw: hw.memory_ports))),
    "control": Register(0x20, Access.WRITE, "commands", (
        Field("start", 0, 1, "begin a program"),
        Field("reset", 1, 1, "end a program without a report"))),
    "status": Register(0x24, Access.READ, "what the last program came to", (
        Field("busy", 0, 1, "it runs, or waits to run"),
        Field("done", 1, 1, "it has ended well"),
        Field("error", 2, 1, "it has ended with an error"),
        Field("draining", 3, 1,
              "the bus still owes answers of a program that was ended"))),
    "interrupt_enable": Register(0x28, Access.BOTH, "what raises the interrupt", (
        Field("ended", 0, 1, "a program has ended"),)),
    "interrupt_status": Register(0x2C, Access.CLEAR, "what has happened, enabled or not", (
        Field("ended", 0, 1, "a program has ended, well or with an error"),)),
    "error_code": number(0x30, Access.READ, "ErrorCode of the last program", width=8),
    "error_index": number(0x34, Access.READ, "descriptor it stopped at", width=16),
    "program_low": number(0x40, Access.BOTH, "byte address of the program"),
    "program_high": number(0x44, Access.BOTH, "its upper bits"),
    "program_length": number(0x48, Access.BOTH, "descriptors"),
    "watchdog": number(0x4C, Access.BOTH, "cycles without progress that end a program, 0: never",
                       reset=WATCHDOG),
    "memory_low": number(0x50, Access.BOTH,
                         "byte address that descriptor addresses are relative to"),
    "memory_high": number(0x54, Access.BOTH, "its upper bits"),
    "memory_size": number(0x58, Access.BOTH, "bytes that descriptor addresses may reach"),
}
"""All registers but the counters, which are 64 bits each from ``COUNTERS_OFFSET`` on."""


def register_map(hw: HwConfig) -> dict[str, Register]:
    """Return all registers of a geometry by name, both halves of each counter included.

    Constants have their values as those after a reset.
    """
    fixed = {name: replace(register, fields=tuple(
        replace(field, reset=field.constant(hw)) if field.constant else field
        for field in register.fields)) for name, register in REGISTERS.items()}
    halves = {f"{name}_{half}": number(COUNTERS_OFFSET + 8 * n + at, Access.READ,
                                       f"{said}, {bits}")
              for n, (name, said) in enumerate(COUNTERS.items())
              for half, at, bits in (("low", 0, "bits 31 to 0"), ("high", 4, "bits 63 to 32"))}
    return {**fixed, **halves}
