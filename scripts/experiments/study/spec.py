"""What a study asks: a YAML file of models, hardware, policies and memories, checked."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from deltamoe.experiments import reading
from deltamoe.experiments.points.inputs import InputSpec
from deltamoe.experiments.points.point import DENSE, IMAGE, Point, label
from deltamoe.experiments.points.values import (
    Batch,
    HardwareSpec,
    MemorySpec,
    ModelSpec,
    PolicySpec,
)
from deltamoe.experiments.reading import Strict, find
from deltamoe.golden.config import ModelConfig
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.energy.table import find_table, tables

BUNDLED = Path(__file__).parents[1] / "studies"


class Study(Strict):
    """A question and the points that answer it: all combinations of the axes' values.

    ``baseline`` names the value, of one axis or more, that the others are compared with; by default
    the first of each.
    """

    AXES: ClassVar[dict[str, str]] = {
        "model": "models", "hardware": "hardware", "policy": "policies", "memory": "memory",
        "input": "inputs", "batch": "batch"}

    question: str
    models: list[ModelSpec] = Field(min_length=1)
    hardware: list[HardwareSpec] = Field(min_length=1)
    policies: list[PolicySpec] = Field([DENSE], min_length=1)
    memory: list[MemorySpec] = Field([MemorySpec()], min_length=1)
    inputs: list[InputSpec] = Field([IMAGE], min_length=1)
    batch: list[Batch] = Field([1], min_length=1)
    baseline: dict[str, str | int] = Field({})
    energy_table: str = "asic_28nm"

    def labels(self, axis: str) -> list[str]:
        """Return the values of an axis, as the report calls them."""
        return [label(value) for value in getattr(self, self.AXES[axis])]

    @property
    def points(self) -> Iterator[Point]:
        """All points."""
        for values in product(*(getattr(self, name) for name in self.AXES.values())):
            yield Point(**dict(zip(self.AXES, values, strict=True)))

    @property
    def operands(self) -> bool:
        """Whether more than the dimensions and the routing of the networks must be known."""
        return any(policy != DENSE for policy in self.policies) or any(
            value.kind != "image" for value in self.inputs)

    @property
    def files(self) -> list[str]:
        """Names that may be those of files that it reads."""
        return [*(model.trace for model in self.models if model.trace),
                *(value.source for value in self.inputs if value.kind in {"trace", "video"}),
                *({self.energy_table} - tables().keys())]

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Check what concerns several values."""
        for axis in self.AXES:
            labels = self.labels(axis)
            if len(set(labels)) < len(labels):
                twice = max(labels, key=labels.count)
                raise ValueError(f"{self.AXES[axis]}: {twice} is there twice"
                                 if axis in {"policy", "batch"} else f"{self.AXES[axis]}: two "
                                 f"values are called {twice!r}; give them names")
        for axis, value in self.baseline.items():
            if axis not in self.AXES:
                raise ValueError(f"baseline: {axis!r} is not one of {', '.join(self.AXES)}")
            if str(value) not in self.labels(axis):
                raise ValueError(f"baseline: {axis} {value!r} is not one of "
                                 f"{', '.join(self.labels(axis))}")
        if any(value.kind == "statistics" for value in self.inputs) and any(
                model.task for model in self.models):
            raise ValueError("models: the input 'statistics' is for task 0 only")
        if any(model.trace for model in self.models) and (
                max(self.batch) > 1 or any(value.kind != "image" for value in self.inputs)):
            raise ValueError("models: a trace has its own input and no batch")
        for policy in self.policies:
            for model in self.models:
                for hardware in self.hardware if model.trace is None else ():
                    cacheable(policy, model.config, hardware.config)
        for policy in self.policies if max(self.batch) > 1 else ():
            if policy.mechanism.remembers:
                raise ValueError(f"batch: {max(self.batch)} times the same image, of which policy "
                                 f"{policy.name} would remember the one before; show it a video")
        find_table(self.energy_table)
        if max(self.batch) > 1 and any(
                value.count > 1 or value.kind == "trace" for value in self.inputs):
            raise ValueError(f"batch: {max(self.batch)} at a time, but an input has several frames")
        return self


def cacheable(policy: PolicySpec, model: ModelConfig, hw: HwConfig) -> None:
    """Raise ValueError unless the experts that a policy caches fit the weight memory."""
    if policy.name != "expert-cache":
        return
    layers = sum(map(model.is_moe, range(model.num_layers)))
    size = min(policy.parameters["size"], model.num_experts)
    needed, room = 2 * layers * size * model.embed_dim * model.expert_dim, hw.weight_bytes
    if needed > room:
        raise ValueError(f"policies: {policy.label}: {size} experts in each of {layers} layers of "
                         f"{model.name} are {needed:,} bytes, the weight memory of {hw.name} "
                         f"has {room:,}")


def read(name: str) -> Study:
    """Return the study of a file, or one that comes along.

    Raises
    ------
    ValueError
        Names the file, the place in it and what is allowed.
    """
    return reading.read(Study, find(name, BUNDLED))
