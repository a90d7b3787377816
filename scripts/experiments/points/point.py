"""A point: one value of everything that figures depend on."""

from deltamoe.boards.clock import Clock
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
    def clocks(self) -> tuple[Clock, ...]:
        """Clocks that frames/s may be stated at, with their evidence; :attr:`clock` is the last."""
        return self.hardware.clocks(self.memory.clock_mhz)

    @property
    def clock(self) -> Clock:
        """The clock of its frames/s and energies."""
        return self.clocks[-1]

    @property
    def memory_model(self) -> MemoryModel:
        """The memory, as the accelerator's port sees it."""
        return self.memory.model(self.hardware.config)


def label(value: object) -> str:
    """Return what a value of an axis is called."""
    return str(getattr(value, "label", value))
