"""A point: one value of everything that figures depend on."""

from deltamoe.experiments.points.inputs import InputSpec
from deltamoe.experiments.points.values import (
    Batch,
    HardwareSpec,
    MemorySpec,
    ModelSpec,
    PolicySpec,
)
from deltamoe.experiments.reading import Strict
from deltamoe.golden.temporal.policy import Policy
from deltamoe.sim.memory import MemoryModel

DENSE = PolicySpec(name=str(Policy.DENSE))
IMAGE = InputSpec(source="image")


class Point(Strict):
    """One value of each axis."""

    model: ModelSpec
    hardware: HardwareSpec
    policy: PolicySpec = DENSE
    memory: MemorySpec = MemorySpec()
    input: InputSpec = IMAGE
    batch: Batch = 1

    @property
    def labels(self) -> dict[str, str]:
        """What each value is called, by axis."""
        return {axis: label(getattr(self, axis)) for axis in type(self).model_fields}

    @property
    def clock_mhz(self) -> float:
        """Million cycles in a second."""
        return self.memory.clock_mhz or self.hardware.clock_mhz

    @property
    def memory_model(self) -> MemoryModel:
        """The memory, as the accelerator's port sees it."""
        return self.memory.model(self.hardware.config)


def label(value: object) -> str:
    """Return what a value of an axis is called."""
    return str(getattr(value, "label", value))
