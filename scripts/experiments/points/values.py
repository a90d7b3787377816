"""Values of a point: models, hardware, policies, memories, checked."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from deltamoe.boards import PRESETS, clocks
from deltamoe.boards.clock import Clock
from deltamoe.experiments.reading import Strict
from deltamoe.golden.config import MODELS, ModelConfig
from deltamoe.golden.sparsity.mechanism import Mechanism, find
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel

Count = Annotated[int, Field(ge=1)]
Batch = Annotated[int, Field(ge=1, le=1024)]


class Preset(Strict):
    """A preset, or one with some of its dimensions replaced."""

    SHORT: ClassVar[str] = "preset"
    KIND: ClassVar[type]
    PRESETS: ClassVar[dict[str, Any]]

    preset: str
    name: str | None = None

    @classmethod
    def keys(cls, value: dict) -> list[str]:
        """Return its own keys and the preset's dimensions."""
        own = list(cls.model_fields)
        return own + [field.name for field in fields(cls.KIND)
                      if field.name not in own and isinstance(field.type, type)]

    @property
    def label(self) -> str:
        """Its name; else the preset's with what is replaced."""
        changes = ", ".join(f"{name}={value}" for name, value in (self.model_extra or {}).items())
        return self.name or self.preset + (f", {changes}" if changes else "")

    @property
    def config(self) -> Any:
        """The configuration."""
        base, changes = self.PRESETS[self.preset], self.model_extra
        return replace(base, **changes, name=self.label) if changes else base

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Check names and dimensions."""
        if self.preset not in self.PRESETS:
            raise ValueError(f"{self.preset!r} is not one of {', '.join(self.PRESETS)}")
        kinds = {field.name: field.type for field in fields(self.KIND)}
        for name, value in (self.model_extra or {}).items():
            if type(value) is not kinds[name]:
                raise ValueError(f"{name}={value!r} is not of type {kinds[name].__name__}")
        if self.config.name in self.PRESETS and self.model_extra:
            raise ValueError(f"name {self.name!r} is that of a preset")
        return self


class ModelSpec(Preset):
    """A network, and which of its tasks; or the file of a trace of any other network."""

    KIND: ClassVar[type] = ModelConfig
    PRESETS: ClassVar[dict[str, Any]] = MODELS

    preset: str = ""
    trace: str | None = None
    task: Annotated[int, Field(ge=0)] = 0

    @classmethod
    def keys(cls, value: dict) -> list[str]:
        """Return the keys of a preset or of a trace."""
        return ["trace", "name"] if "trace" in value else super().keys(value)

    @property
    def label(self) -> str:
        """Its name; else its file's, or the preset's with what is replaced."""
        return (self.name or Path(self.trace).stem) if self.trace else super().label

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Check preset, dimensions and task."""
        if not self.trace and not self.preset:
            raise ValueError("neither a preset nor a trace")
        if self.trace is None:
            super().possible()
            if self.task >= self.config.num_tasks:
                raise ValueError(f"task {self.task} is not in 0..{self.config.num_tasks - 1}")
        return self


class HardwareSpec(Preset):
    """An accelerator."""

    KIND: ClassVar[type] = HwConfig
    PRESETS: ClassVar[dict[str, Any]] = PRESETS

    def clocks(self, mhz: float | None = None) -> tuple[Clock, ...]:
        """Return what :func:`deltamoe.boards.clocks` says of the preset, as it is changed here."""
        return clocks(replace(self.config, name=self.preset), mhz)


class PolicySpec(Strict):
    """A mechanism of :data:`deltamoe.golden.sparsity.registry.MECHANISMS` with its parameters."""

    SHORT: ClassVar[str] = "name"

    name: str

    @classmethod
    def keys(cls, value: dict) -> list[str]:
        """Return ``name`` and what the mechanism takes."""
        if not isinstance(value.get("name"), str):
            return ["name"]
        return ["name", *find(value["name"], MECHANISMS).parameters]

    @model_validator(mode="before")
    @classmethod
    def named(cls, value: Any) -> Any:
        """Refuse a policy that does not say which."""
        if isinstance(value, dict) and "name" not in value:
            raise ValueError(f"{value!r} has no name; one of {', '.join(MECHANISMS)}")
        return value

    @property
    def mechanism(self) -> Mechanism:
        """The mechanism."""
        return MECHANISMS[self.name]

    @property
    def parameters(self) -> dict[str, float]:
        """All parameters, with defaults."""
        return self.mechanism.given(self.model_extra or {})

    @property
    def label(self) -> str:
        """Its name and the parameters given."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in (
            self.model_extra or {}).items())])

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Check the parameters."""
        find(self.name, MECHANISMS).given(self.model_extra or {})
        return self


class MemorySpec(Strict):
    """Memory and clock: cycles to the first beat, from beat to beat, and how many in a second.

    In place of ``interval``, ``bytes_per_cycle`` is the most that the memory moves, whatever the
    width of a beat. Without ``clock_mhz`` the clock is what :func:`deltamoe.boards.clocks` says of
    the preset.
    """

    name: str | None = None
    latency: Count = 100
    interval: Count = 1
    bytes_per_cycle: Count | None = None
    clock_mhz: Annotated[float, Field(gt=0, le=1000, strict=False)] | None = None

    def model(self, hw: HwConfig) -> MemoryModel:
        """Return the memory, as the port of an accelerator sees it."""
        rate = self.bytes_per_cycle
        return MemoryModel(self.latency, -(-hw.bus_bytes // rate) if rate else self.interval)

    @property
    def pace(self) -> str:
        """How fast beats follow each other."""
        rate = self.bytes_per_cycle
        return f"{rate} bytes per cycle" if rate else f"interval {self.interval}"

    @property
    def label(self) -> str:
        """Its name; else its figures."""
        figures = f"latency {self.latency}, {self.pace}"
        return self.name or figures + (f", {self.clock_mhz:g} MHz" if self.clock_mhz else "")

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Refuse two paces."""
        if self.bytes_per_cycle and "interval" in self.model_fields_set:
            raise ValueError("has both interval and bytes_per_cycle")
        return self
