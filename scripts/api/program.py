"""Programs: a network compiled for a hardware preset."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Group

from deltamoe.api.networks import Network, load
from deltamoe.api.result import Result
from deltamoe.boards import PRESETS as HARDWARE
from deltamoe.boards import hardware as hardware_by_name
from deltamoe.golden.temporal.policy import Plan, Policy
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import DESCRIPTOR_BYTES, Opcode
from deltamoe.sim.outline import Outline
from deltamoe.terminal import Table

__all__ = ["HARDWARE", "Compilation", "compile", "compiled"]


@dataclass(frozen=True)
class Compilation(Result):
    """A network, what it runs on, and the program of both.

    Attributes
    ----------
    network : Network
        What is computed.
    hw : HwConfig
        What computes it.
    task, frames : int
        Which of the network's tasks, from 0, and how many images one after another.
    policy : str
        Which operands are left out, by name.
    plan : Plan
        The same, operator by operator.
    outline : NetworkProgram
        Its descriptors. A preset's lack weights and scales, which timing does not ask for.
    """

    network: Network
    hw: HwConfig
    task: int
    frames: int
    policy: str
    plan: Plan
    outline: NetworkProgram

    @cached_property
    def program(self) -> NetworkProgram:
        """Descriptors and weights, as the Verilog runs them."""
        if not self.network.preset:
            return self.outline
        return compile_program(self.network.weights.quantized, self.hw, self.task, self.plan,
                               self.frames)

    def figures(self) -> dict:
        outline, kinds = self.outline, Counter(
            descriptor.opcode for descriptor in self.outline.descriptors)
        program = len(outline.descriptors) * DESCRIPTOR_BYTES
        return {"model": self.network.name, "hardware": self.hw.name, "task": self.task,
                "frames": self.frames, "policy": self.policy,
                "descriptors": {kind.name: kinds[kind] for kind in Opcode},
                "bytes": {"state": outline.start, "program": program,
                          "weights": len(outline.memory) - program,
                          "images_and_outputs": outline.size - outline.start - len(outline.memory)},
                "macs": self.frames * self.network.config.macs}

    def table(self) -> Group:
        figures, tables = self.figures(), []
        for name in ("descriptors", "bytes"):
            table = Table(name, "",
                          title=f"{self.network.name} on {self.hw.name}, task {self.task}")
            for kind, count in figures[name].items():
                table.add_row(kind, f"{count:,}")
            tables.append(table)
        return Group(*tables)


def compile(model: str | Path | Network, hardware: str | HwConfig = "nano", *,
            task: int = 0, policy: str = Policy.DENSE, theta: int = 0, frames: int = 1
            ) -> Compilation:
    """Compile a network for an accelerator.

    Parameters
    ----------
    model : str, Path or Network
        As :func:`deltamoe.api.networks.load` takes it.
    hardware : str or HwConfig
        A preset of :data:`HARDWARE`, or another geometry.
    task : int
        Which of the network's tasks, from 0.
    policy : str
        ``dense``, ``zero-skip``, ``delta`` or ``token-gate``, in all operators that have it.
    theta : int
        Largest difference that ``delta`` and ``token-gate`` leave out, in codes of int8.
    frames : int
        Images that the program computes one after another.

    Raises
    ------
    ValueError
        No such model, hardware, task or policy; or the network does not fit: names the dimension,
        its value and what is allowed.
    """
    hw = hardware if isinstance(hardware, HwConfig) else hardware_by_name(hardware)
    if frames < 1:
        raise ValueError(f"frames {frames} is not at least 1")
    network = load(model)
    network.check_task(task)
    plan = named(policy, network.config, hw, task, theta)
    source = Outline(network.config) if network.preset else network.weights.quantized
    return Compilation(network, hw, task, frames, str(policy), plan,
                       compile_program(source, hw, task, plan, frames))


def compiled(model: str | Path | Network | Compilation, **choices: object) -> Compilation:
    """Return a compilation as it is, or :func:`compile` with those choices that are not None.

    Raises
    ------
    ValueError
        A choice for what is compiled already; or as :func:`compile`.
    """
    chosen = {name: value for name, value in choices.items() if value is not None}
    if not isinstance(model, Compilation):
        return compile(model, **chosen)
    if chosen:
        raise ValueError(f"{', '.join(chosen)}: the program is compiled for {model.hw.name}, task "
                         f"{model.task}, policy {model.policy} already")
    return model
