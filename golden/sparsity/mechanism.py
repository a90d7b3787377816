"""A named mechanism: its source, its parameters, who can execute it; and the list of all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

FAMILIES = ("routing", "activation", "temporal", "attention", "weights")
EXECUTES = ("rtl", "model")


@dataclass(frozen=True)
class Parameter:
    """A number that a mechanism takes: its default, and the least and the greatest allowed."""

    default: float
    low: float
    high: float
    meaning: str

    def number(self, owner: str, name: str, value: Any) -> float:
        """Return ``value`` as a number of the default's type, or raise ValueError."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise ValueError(f"policy {owner}: {name}={value!r} is not a number")
        if not self.low <= value <= self.high:
            raise ValueError(f"policy {owner}: {name}={value} is not in {self.low}..{self.high}")
        if isinstance(self.default, int) and value != int(value):
            raise ValueError(f"policy {owner}: {name}={value} is not an integer")
        return type(self.default)(value)


@dataclass(frozen=True)
class Mechanism:
    """One way to do less.

    Attributes
    ----------
    name, family, source : str
        As it is called, one of ``FAMILIES``, and the paper.
    executes : str
        ``rtl`` if the present hardware can do it, so that its cycles are exact; else ``model``.
    skips : str
        What hardware may leave out, in one line: multiplications, weight bytes, state bytes.
    parameters : Mapping of str to Parameter
        What it takes.
    differs : str
        In a few words, how it is not what the source does: what is left out, and what stands in for
        what only a network trained with it has; empty if it does the same.
    calibrated : bool
        Whether thresholds, masks, bases or choices of experts come from recorded frames.
    remembers : bool
        Whether a frame costs what it does because of those before it.
    frames : callable
        ``frames(record, calibration=None, **parameters)`` maps a
        :class:`deltamoe.golden.sparsity.record.Record` to a list of
        :class:`deltamoe.golden.sparsity.work.Frame`, one for each recorded frame. ``calibration``
        is a record of the same network on other frames; without one, the frames themselves are it.
    executed : callable, optional
        ``executed(record, **parameters)``, of what the hardware can do only, returns the network
        (:class:`deltamoe.golden.quantization.quantized.QuantizedModel`) and the
        :class:`deltamoe.golden.temporal.policy.Plan` that do it.
    """

    name: str
    family: str
    source: str
    executes: str
    skips: str
    parameters: Mapping[str, Parameter]
    differs: str
    calibrated: bool
    remembers: bool
    frames: Callable[..., Sequence[Any]]
    executed: Callable[..., tuple[Any, Any]] | None = None

    def __post_init__(self) -> None:
        if self.family not in FAMILIES or self.executes not in EXECUTES or (
                (self.executes == "rtl") != (self.executed is not None)):
            raise ValueError(f"policy {self.name}: {self.family}, {self.executes}")

    def given(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Return all parameters, checked, with defaults for those that ``values`` lacks.

        Raises
        ------
        ValueError
            Names the parameter and what is allowed.
        """
        for name in values:
            if name not in self.parameters:
                raise ValueError(f"policy {self.name} has no parameter {name!r}; it has "
                                 f"{', '.join(self.parameters) or 'none'}")
        return {name: parameter.number(self.name, name, values.get(name, parameter.default))
                for name, parameter in self.parameters.items()}


def find(name: str, mechanisms: Mapping[str, Mechanism]) -> Mechanism:
    """Return a mechanism by name, or raise ValueError that lists them."""
    if name not in mechanisms:
        raise ValueError(f"policy {name!r} is not one of {', '.join(mechanisms)}")
    return mechanisms[name]
