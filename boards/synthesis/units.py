"""The accelerator as units that are synthesized alone, so that each is counted exactly once.

These are the units whose record has an area. A unit's Verilog holds all of it but the others of
them inside it, which are black boxes there. So every part of the accelerator is in one unit, and a
unit counts as often as it occurs.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from amaranth import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.generate import ports, to_verilog
from deltamoe.rtl.linear.mac_pair import MacPair
from deltamoe.rtl.record import units

UNITS = {name: unit for name, unit in units().items() if unit.record.area is not None}
"""Units that are synthesized alone, by name."""


@dataclass(frozen=True)
class Unit:
    """A unit of the accelerator.

    Attributes
    ----------
    name : str
        Its class.
    instances : int
        How often it occurs in the accelerator.
    text : str
        Its Verilog, with top module ``top``.
    boxes : str
        Verilog of the black boxes in it.
    inside : dict
        How often it holds each black box.
    """

    name: str
    instances: int
    text: str
    boxes: str
    inside: dict[str, int]


def pins(unit: wiring.Component) -> Iterator[tuple[str, str, Value]]:
    """Return direction, name and value of every port, clock and reset included."""
    yield "i", "clk", ClockSignal()
    yield "i", "rst", ResetSignal(allow_reset_less=True)
    for name, flow, value in ports(unit):
        yield "i" if flow is In else "o", name, value


def black_box(unit: wiring.Component) -> str:
    """Return a module in Verilog that has only ports."""
    declared = ", ".join(
        f"{'input' if direction == 'i' else 'output'} [{len(value) - 1}:0] \\{name} "
        for direction, name, value in pins(unit))
    return f"(* blackbox *)\nmodule {type(unit).__name__}({declared});\nendmodule\n"


def by_class(unit: wiring.Component, number: int) -> str:
    """Return the name of a black box that is the same for all units of a class."""
    return type(unit).__name__


@contextmanager
def boxed(top: wiring.Component, kinds: tuple[type, ...],
          name: Callable[[wiring.Component, int], str] = by_class,
          ) -> Iterator[list[wiring.Component]]:
    """Let units of ``kinds``, other than ``top``, elaborate to black boxes; collect them.

    ``name`` returns what a box is called, given its unit and its number in what is collected.
    """
    boxes: list[wiring.Component] = []
    originals = {kind: kind.elaborate for kind in kinds}

    def elaborate(unit, platform):
        if unit is top:
            return originals[type(unit)](unit, platform)
        boxes.append(unit)
        return Instance(name(unit, len(boxes) - 1), *pins(unit))

    try:
        for kind in kinds:
            kind.elaborate = elaborate
        yield boxes
    finally:
        for kind, original in originals.items():
            kind.elaborate = original


def make(kind: type[wiring.Component], hw: HwConfig) -> wiring.Component:
    """Return a unit; some are the same for every accelerator."""
    return kind(hw) if inspect.signature(kind).parameters else kind()


def split(hw: HwConfig, *, box_pairs: bool) -> Iterator[Unit]:
    """Return all units that an accelerator has; ``box_pairs`` makes MacPair a black box too."""
    kinds = (*UNITS.values(), MacPair) if box_pairs else tuple(UNITS.values())

    def inside(kind: type[wiring.Component], instances: int) -> Iterator[Unit]:
        unit = make(kind, hw)
        with boxed(unit, kinds) as boxed_units:
            text = to_verilog(unit, "top")
        boxes = {type(box): black_box(box) for box in boxed_units}
        counts = Counter(map(type, boxed_units))
        yield Unit(kind.__name__, instances, text, "".join(boxes.values()),
                   {box.__name__: count for box, count in counts.items()})
        for box, count in counts.items():
            if box is not MacPair:
                yield from inside(box, instances * count)

    return inside(Accelerator, 1)
