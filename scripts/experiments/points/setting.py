"""The step behind every figure: a network becomes a program, and its frames are simulated."""

from collections.abc import Iterable
from dataclasses import dataclass

from deltamoe.golden.temporal.policy import Plan
from deltamoe.rtl.compiler.entry import DENSE, compile_program
from deltamoe.rtl.compiler.network import NetworkProgram
from deltamoe.rtl.compiler.tensors import Quantized
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.facts import Facts, from_traces
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.report.spans import Result


@dataclass(frozen=True)
class Setting:
    """A task of a network on an accelerator, and the memory there."""

    network: Quantized
    hw: HwConfig
    memory: MemoryModel
    task: int = 0

    def program(self, plan: Plan = DENSE, batch: int = 1, *, continues: bool = False
                ) -> NetworkProgram:
        """Return the program of ``batch`` frames; with ``continues`` others came before.

        Raises
        ------
        ValueError
            The network does not fit the hardware.
        """
        return compile_program(self.network, self.hw, self.task, plan, batch, continues=continues)

    def simulated(self, program: NetworkProgram, facts: Facts) -> Result:
        """Simulate the frames of a program."""
        return simulate(program, facts, self.memory)

    def ran(self, plan: Plan, traces: Iterable, batch: int = 1, *, continues: bool = False
            ) -> tuple[Result, ...]:
        """Simulate each of the frames that made ``traces`` under a plan, ``batch`` of it at once.

        Raises
        ------
        ValueError
            The network does not fit the hardware.
        """
        program = self.program(plan, batch, continues=continues)
        return tuple(self.simulated(program, from_traces(
            [trace] * batch, self.network.config, plan)) for trace in traces)
