"""What others need to know of a unit, in one record beside its class: ``record = Record(...)``.

Its twin in the integer model, which the tests compare it with; the outputs that do not come from
registers; and, where it is synthesized alone, its instances, multipliers, memories, and what its
logic grows with, which synthesis and the area model read. Units are found by walking this package,
so no list names them.
"""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from amaranth import Shape, ShapeLike
from amaranth.lib import wiring

from deltamoe.rtl.config import HwConfig


@dataclass(frozen=True)
class Ram:
    """Memories of one shape.

    Attributes
    ----------
    shape, depth : ShapeLike, int
        A row, and how many there are.
    copies : int
        Memories, or read ports of a distributed one.
    parts : int
        Parts of a row that are written apart.
    """

    shape: ShapeLike
    depth: int
    copies: int = 1
    parts: int = 1

    @property
    def width(self) -> int:
        """Bits of a row."""
        return Shape.cast(self.shape).width


@dataclass(frozen=True, kw_only=True)
class Area:
    """How large a unit is that is synthesized alone, with the units in it that are not.

    Attributes
    ----------
    instances : callable
        How often it occurs in an accelerator.
    multipliers : callable
        DSP48E2s of one instance.
    block : callable
        Memories of one instance in block RAM.
    distributed : callable
        Those in LUTs that are counted from their size; others are part of the logic.
    grows : callable
        What the logic of one instance grows with, beside what it always needs.
    """

    instances: Callable[[HwConfig], int] = lambda hw: 1
    multipliers: Callable[[HwConfig], int] = lambda hw: 0
    block: Callable[[HwConfig], Sequence[Ram]] = lambda hw: ()
    distributed: Callable[[HwConfig], Sequence[Ram]] = lambda hw: ()
    grows: Callable[[HwConfig], Sequence[float]] = lambda hw: ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """A unit as others see it.

    Attributes
    ----------
    twin : str or None
        Module of :mod:`deltamoe.golden` with the same arithmetic, if the unit computes.
    moves : str or None
        What the unit does if it never changes a value, so that there is nothing to model.
    area : Area or None
        None if it is synthesized as part of the unit around it.
    combinational : Mapping of str to tuple of str
        By output port, the input ports that it depends on in the same cycle; all other outputs come
        from registers. A port is called as its signature has it, ``sums.release``; those of an
        array have one name.
    """

    twin: str | None = None
    moves: str | None = None
    area: Area | None = None
    combinational: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.twin is None) == (self.moves is None):
            raise ValueError(f"twin={self.twin!r}, moves={self.moves!r}: a unit computes or moves")


@cache
def units() -> dict[str, type[wiring.Component]]:
    """Return every unit that has a record, by name."""
    package = import_module(__package__)
    found = {}
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for name, kind in vars(import_module(module.name)).items():
            if isinstance(kind, type) and kind.__module__ == module.name and (
                    isinstance(vars(kind).get("record"), Record)):
                found[name] = kind
    return found
