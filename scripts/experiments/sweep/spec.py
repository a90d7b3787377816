"""What a sweep explores: a YAML file, checked."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from deltamoe.experiments import reading
from deltamoe.experiments.points.point import Point
from deltamoe.experiments.points.values import Count, HardwareSpec, MemorySpec, ModelSpec
from deltamoe.experiments.reading import Strict
from deltamoe.rtl.config import HwConfig, WrongValueError
from deltamoe.sim.energy.table import tables

SWEEPS = Path(__file__).parents[1] / "sweeps"
"""Sweeps that come along."""

OBJECTIVES = {
    "frames_per_s": "maximize", "utilization": "maximize", "cycles": "minimize",
    "energy_pj": "minimize", "area_share": "minimize", "lut": "minimize", "ff": "minimize",
    "dsp": "minimize", "bram": "minimize",
}
"""Figures of a design, and which way is better."""

IN_WORDS = ("queue_words", "act_words", "normed_words", "residual_words", "state_words",
            "reference_words", "param_words", "norm_words")
"""Depths that follow ``lanes``, so that a memory holds as many elements as in the preset.

Where nothing is kept from frame to frame, neither are references; as many words as in the preset
are read together if the groups allow it.
"""

PLATFORM = ("latency", "bytes_per_cycle", "clock_mhz")
"""What can be explored beside the geometry."""

PARAMETERS = (*(field.name for field in fields(HwConfig) if field.name != "name"), *PLATFORM)
MOST_VALUES = 4096
"""Most values of one parameter."""


def one_of(names) -> AfterValidator:
    """Return a validator of names."""
    def known(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not one of {', '.join(names)}")
        return value
    return AfterValidator(known)


class Values(Strict):
    """What a parameter may be: a list, or whole numbers from ``low`` to ``high``.

    Of these every ``step``-th, or each ``times`` the last.
    """

    SHORT: ClassVar[str] = "values"

    values: Any = None
    low: Count | None = None
    high: Count | None = None
    step: Count | None = None
    times: Annotated[int, Field(ge=2)] | None = None

    @classmethod
    def keys(cls, value: dict) -> list[str]:
        """Return the keys of a list or of a range."""
        own = list(cls.model_fields)
        return [cls.SHORT] if cls.SHORT in value else [key for key in own if key != cls.SHORT]

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Check that there are some, and not too many."""
        if "values" in self.model_fields_set:
            if not isinstance(self.values, list) or not 1 <= len(self.values) <= MOST_VALUES or any(
                    type(each) not in (bool, int) for each in self.values):
                raise ValueError(f"{self.values!r} is neither a list of 1 to {MOST_VALUES} whole "
                                 "numbers or truth values nor a mapping with low, high and step or "
                                 "times")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high")
        if self.low > self.high:
            raise ValueError(f"low={self.low} exceeds high={self.high}")
        if (self.step is None) == (self.times is None):
            raise ValueError("needs either step or times")
        if self.step and (self.high - self.low) // self.step >= MOST_VALUES:
            raise ValueError(f"has more than {MOST_VALUES} values")
        return self

    @property
    def all(self) -> tuple[int, ...]:
        """All values; those of a range ascending."""
        if self.values is not None:
            return tuple(self.values)
        if self.step:
            return tuple(range(self.low, self.high + 1, self.step))
        powers = range(int(math.log(self.high / self.low, self.times) + 1e-9) + 1)
        return tuple(self.low * self.times**power for power in powers)


class Spec(Strict):
    """A sweep.

    Attributes
    ----------
    model, hardware : ModelSpec, HardwareSpec
        The network, and the accelerator of which some parameters are explored.
    memory : MemorySpec
        What the hardware is connected to, with ``bytes_per_cycle``, as a beat's width may vary.
    energy_table : str
        Cost table of the energy.
    explore : mapping
        Parameters of :data:`PARAMETERS`, each with its :class:`Values`.
    objectives : list of str
        Of :data:`OBJECTIVES`, what a design is judged by.
    limits : mapping
        At most that much of what is better if small, at least that much of what is better if
        large; what is not named may take all of the part.
    sampler, generation : str, int
        How points are chosen, and how many before their results are looked at.
    points, seed : int
        How many different designs, and what the choice depends on.
    """

    model: ModelSpec
    hardware: HardwareSpec
    memory: MemorySpec = MemorySpec(bytes_per_cycle=64)
    energy_table: Annotated[str, one_of(tables())] = "asic_28nm"
    explore: dict[Annotated[str, one_of(PARAMETERS)], Values]
    objectives: Annotated[list[Annotated[str, one_of(OBJECTIVES)]], Field(min_length=1)] = Field(
        ["frames_per_s", "energy_pj", "area_share"])
    limits: dict[Annotated[str, one_of(OBJECTIVES)], Annotated[float, Field(
        gt=0, allow_inf_nan=False, strict=False)]] = Field({})
    sampler: Literal["nsga2", "tpe", "random", "grid"] = "nsga2"
    generation: Annotated[int, Field(ge=2, le=1000)] = 50
    points: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Check what concerns several values, and every value that is explored."""
        if self.model.trace:
            raise ValueError("model: a trace has no routing of its own; name a preset")
        if not self.memory.bytes_per_cycle:
            raise ValueError("memory: needs bytes_per_cycle: the width of a beat may vary")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives: one is named twice")
        if not self.explore:
            raise ValueError(f"explore names no parameter; allowed are {', '.join(PARAMETERS)}")
        for name, values in self.space.items():
            if len(set(values)) < len(values):
                raise ValueError(f"explore.{name}: a value is named twice")
            for value in values:
                self.check_value(name, value)
        return self

    def check_value(self, name: str, value: int) -> None:
        """Raise ValueError for a value that no other parameter's value makes possible."""
        if name in PLATFORM:
            if type(value) is not int or value < 1:
                raise ValueError(f"explore.{name}: {value!r} is not a positive integer")
            return
        field = next(field for field in fields(HwConfig) if field.name == name)
        if field.type is not type(value):
            raise ValueError(f"explore.{name}: {value!r} is not of type {field.type.__name__}")
        try:
            replace(self.hardware.config, **{name: value})
        except WrongValueError as error:
            if error.parameter == name:
                raise ValueError(f"explore.{name}: {error}") from None
        except ValueError:
            return

    @cached_property
    def space(self) -> dict[str, tuple[int, ...]]:
        """Values of every explored parameter."""
        return {name: values.all for name, values in self.explore.items()}

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(map(len, self.space.values()))

    def point(self, values: Mapping[str, int]) -> Point:
        """Return the point with explored ``values``.

        Raises
        ------
        ValueError
            There is no such hardware.
        """
        base = self.hardware.config
        lanes = values.get("lanes", base.lanes)
        geometry = {name: -(-getattr(base, name) * base.lanes // lanes) for name in IN_WORDS}
        if values.get("state_words") == 0:
            geometry["reference_words"] = 0
        geometry["read_words"] = next(words for words in (base.read_words, 2, 1) if (
            words == 1 or values.get("groups", base.groups) % (2 * words) == 0))
        geometry |= {name: value for name, value in values.items() if name not in PLATFORM}
        return Point(
            model=self.model,
            hardware=self.hardware.changed(**{
                name: value for name, value in geometry.items() if value != getattr(base, name)}),
            memory=self.memory.changed(**{
                name: value for name, value in values.items() if name in PLATFORM}))


def load(path: Path) -> Spec:
    """Return the sweep of a file.

    Raises
    ------
    ValueError
        Names the file, the place in it and what is allowed.
    """
    return reading.read(Spec, path)


def find(name: str) -> Path:
    """Return the file of a sweep, which may be the name of one that comes along.

    Raises
    ------
    ValueError
        It is neither.
    """
    return reading.find(name, SWEEPS)
