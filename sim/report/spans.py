"""What a simulation returns: spans of work, counters, and sums by layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from deltamoe.rtl.label import Label
from deltamoe.sim.energy.ledger import Act
from deltamoe.sim.report.losses import Losses


class Unit(NamedTuple):
    """A unit whose work is shown: of lane groups one, by its number.

    ``run`` says which of two runs it is a unit of, where these are compared.
    """

    kind: str
    number: int | None = None
    run: str = ""

    def __str__(self) -> str:
        unit = self.kind if self.number is None else f"{self.kind} {self.number}"
        return f"only {self.run}: {unit}" if self.run else unit


LOAD, COMPUTE, DRAIN = Unit("load"), Unit("compute"), Unit("drain")


def group(number: int) -> Unit:
    """Return a lane group."""
    return Unit("group", number)


class Span(NamedTuple):
    """``units`` worked on ``item``, in step, from cycle ``start`` to ``end``, which is excluded."""

    units: tuple[Unit, ...]
    item: Label
    start: int
    end: int


@dataclass(frozen=True)
class Layer:
    """One compute descriptor: its cycles, multiplications and stalls by cause.

    Descriptors overlap; ``start`` is where the one before left the drain and ``end`` where this
    one did, so that the cycles of all add up.
    """

    label: Label
    start: int
    end: int
    macs: int
    stalls: Mapping[str, int]

    @property
    def cycles(self) -> int:
        """Cycles between its two ends."""
        return self.end - self.start


@dataclass(frozen=True)
class Result:
    """A simulated program; ``shares`` and ``acts`` are those of the ledger."""

    counters: Mapping[str, int]
    layers: tuple[Layer, ...]
    spans: tuple[Span, ...]
    losses: Losses
    shares: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    acts: Mapping[Act, int] = field(default_factory=dict)

    @property
    def cycles(self) -> int:
        """Cycles from start to finish."""
        return self.counters["cycles"]

    def utilization(self, mac_units: int) -> float:
        """Share of the multipliers' cycles that did useful work."""
        return self.counters["macs"] / (self.cycles * mac_units)
