"""What a sweep explores: a YAML file, checked."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from deltamoe.boards import PRESETS, clock
from deltamoe.golden.config import MODELS
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.energy.table import tables
from deltamoe.sim.memory import MemoryModel

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


class Strict(BaseModel):
    """A mapping whose keys are known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def one_of(names) -> AfterValidator:
    """Return a validator of names."""
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not one of {', '.join(names)}")
        return value
    return AfterValidator(check)


class Range(Strict):
    """Whole numbers from ``low`` to ``high``: every ``step``-th, or each ``times`` the last."""

    low: Annotated[int, Field(ge=1)]
    high: Annotated[int, Field(ge=1)]
    step: Annotated[int, Field(ge=1)] | None = None
    times: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def sensible(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"low={self.low} exceeds high={self.high}")
        if (self.step is None) == (self.times is None):
            raise ValueError("needs either step or times")
        if self.step and (self.high - self.low) // self.step >= MOST_VALUES:
            raise ValueError(f"has more than {MOST_VALUES} values")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """All values, ascending."""
        if self.step:
            return tuple(range(self.low, self.high + 1, self.step))
        powers = range(int(math.log(self.high / self.low, self.times) + 1e-9) + 1)
        return tuple(self.low * self.times**power for power in powers)


def listed(value):
    """Refuse what is neither values nor a range."""
    if isinstance(value, dict) or (isinstance(value, list) and 1 <= len(value) <= MOST_VALUES
                                   and all(type(each) in (bool, int) for each in value)):
        return value
    raise ValueError(f"{value!r} is neither a list of 1 to {MOST_VALUES} whole numbers or truth "
                     "values nor a mapping with low, high and step or times")


class Memory(Strict):
    """Cycles of the memory's latency, and the most bytes that it moves in a cycle."""

    latency: Annotated[int, Field(ge=1)] = 100
    bytes_per_cycle: Annotated[int, Field(ge=1)] = 64


class Spec(Strict):
    """A sweep.

    Attributes
    ----------
    model, task : str, int
        Network preset and its task.
    hardware : str
        Preset of which some parameters are explored.
    memory, clock_mhz : Memory, float
        What the hardware is connected to; without a clock, the one assumed for the preset.
    energy_table : str
        Cost table of the energy.
    explore : mapping
        Parameters of :data:`PARAMETERS`, each with its values or its :class:`Range`.
    objectives : tuple of str
        Of :data:`OBJECTIVES`, what a design is judged by.
    limits : mapping
        At most that much of what is better if small, at least that much of what is better if
        large; what is not named may take all of the part.
    sampler, generation : str, int
        How points are chosen, and how many before their results are looked at.
    points, seed : int
        How many different designs, and what the choice depends on.
    """

    model: Annotated[str, one_of(MODELS)]
    task: Annotated[int, Field(ge=0)] = 0
    hardware: Annotated[str, one_of(PRESETS)]
    memory: Memory = Memory()
    clock_mhz: Annotated[float, Field(gt=0, le=1000, strict=False)] | None = None
    energy_table: Annotated[str, one_of(tables())] = "asic_28nm"
    explore: dict[Annotated[str, one_of(PARAMETERS)],
                  Annotated[Range | list[bool | int], BeforeValidator(listed)]]
    objectives: Annotated[list[Annotated[str, one_of(OBJECTIVES)]], Field(min_length=1)] = [
        "frames_per_s", "energy_pj", "area_share"]
    limits: dict[Annotated[str, one_of(OBJECTIVES)], Annotated[float, Field(
        gt=0, allow_inf_nan=False, strict=False)]] = {}
    sampler: Literal["nsga2", "tpe", "random", "grid"] = "nsga2"
    generation: Annotated[int, Field(ge=2, le=1000)] = 50
    points: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def possible(self) -> "Spec":
        tasks = MODELS[self.model].num_tasks
        if self.task >= tasks:
            raise ValueError(f"task={self.task} is not in 0..{tasks - 1} of {self.model}")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives: one is named twice")
        if not self.explore:
            raise ValueError(f"explore names no parameter; allowed are {', '.join(PARAMETERS)}")
        for name, values in self.space.items():
            if len(set(values)) < len(values):
                raise ValueError(f"explore.{name}: a value is named twice")
            for value in values:
                self.check(name, value)
        return self

    def check(self, name: str, value: int) -> None:
        """Raise ValueError for a value that no other parameter's value makes possible."""
        if name in PLATFORM:
            if type(value) is not int or value < 1:
                raise ValueError(f"explore.{name}: {value!r} is not a positive integer")
            return
        field = next(field for field in fields(HwConfig) if field.name == name)
        if field.type is not type(value):
            raise ValueError(f"explore.{name}: {value!r} is not of type {field.type.__name__}")
        try:
            replace(PRESETS[self.hardware], **{name: value})
        except ValueError as error:
            if str(error).startswith(f"{name}={value!r} is not "):
                raise ValueError(f"explore.{name}: {error}") from None

    @cached_property
    def space(self) -> dict[str, tuple[int, ...]]:
        """Values of every explored parameter."""
        return {name: given.values if isinstance(given, Range) else tuple(given)
                for name, given in self.explore.items()}

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(map(len, self.space.values()))

    def geometry(self, values: Mapping[str, int]) -> HwConfig:
        """Return the hardware with explored ``values``.

        Raises
        ------
        ValueError
            There is no such hardware.
        """
        base = PRESETS[self.hardware]
        lanes = values.get("lanes", base.lanes)
        same = {name: -(-getattr(base, name) * base.lanes // lanes) for name in IN_WORDS}
        if values.get("state_words") == 0:
            same["reference_words"] = 0
        same["read_words"] = next(words for words in (base.read_words, 2, 1) if (
            words == 1 or values.get("groups", base.groups) % (2 * words) == 0))
        return replace(base, **{**same, **{
            name: value for name, value in values.items() if name not in PLATFORM}})

    def platform(self, values: Mapping[str, int]) -> tuple[MemoryModel, float]:
        """Return the memory and the clock in MHz with explored ``values``."""
        lanes = values.get("lanes", PRESETS[self.hardware].lanes)
        rate = values.get("bytes_per_cycle", self.memory.bytes_per_cycle)
        return (MemoryModel(values.get("latency", self.memory.latency), -(-lanes // rate)),
                clock(PRESETS[self.hardware], values.get("clock_mhz", self.clock_mhz)))
