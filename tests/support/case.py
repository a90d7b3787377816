"""One stimulus with its golden answer, for whichever simulator runs it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce

from amaranth import Value
from amaranth.lib import wiring

from deltamoe.rtl import program

PATTERNS = {
    "full_rate": ((0,), False),
    "bursty": ((0, 0, 1, 3), False),
    "valid_first": ((0, 0, 1, 3), True),   # the sink raises ready only after it sees valid
}


@dataclass(frozen=True)
class Case:
    """A unit, what to hold on its control inputs, what goes in, what must come out.

    ``setup`` holds the control inputs of single cycles before the streams start. The path to an
    input is joined by two underscores, as in the Verilog. ``cycles`` counts, at full rate, from the
    first transfer in to the last out, both included.
    """

    name: str
    make: Callable[[], wiring.Component]
    inputs: dict[str, list[int]]
    outputs: dict[str, list[int]]
    controls: dict[str, int] = field(default_factory=dict)
    setup: list[dict[str, int]] = field(default_factory=list)
    cycles: int | None = None


def control(unit: wiring.Component, name: str) -> Value:
    """Return the wires of an input by its name in a case."""
    return Value.cast(reduce(getattr, name.split("__"), unit))


def pack(layout, fields: dict) -> int:
    """Encode a payload as the integer on its wires."""
    return Value.cast(layout.const(fields)).value


def encoded(descriptor: program.Descriptor) -> int:
    """Encode a descriptor as the integer on its wires."""
    return int.from_bytes(program.pack(descriptor), "little")
