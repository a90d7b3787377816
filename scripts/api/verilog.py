"""Runs of the generated Verilog, beside the integer network and the simulator."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deltamoe.api.inference import Inference, pixels_of, real_of
from deltamoe.api.networks import Network
from deltamoe.api.program import Compilation, compiled
from deltamoe.api.progress import QUIET, Progress
from deltamoe.boards.verilator import engine
from deltamoe.host.files import write
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import ErrorCode
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.report.spans import Result
from deltamoe.sim.report.trace import differences, perfetto

if TYPE_CHECKING:
    from deltamoe.golden.data.video import Pixels
    from deltamoe.golden.engines import Output
    from deltamoe.golden.library import Network as Weights

BUILDING = "building the Verilator model (once) and running it"


@dataclass(frozen=True)
class VerilogRun(Inference):
    """An image on the Verilog.

    Attributes
    ----------
    reference : deltamoe.golden.engines.Output
        What the integer network makes of it.
    ran : deltamoe.boards.verilator.engine.RunResult
        Memory and counters after the run; spans of work if there is a ``trace``.
    expected : deltamoe.sim.report.spans.Result
        What the simulator predicts.
    trace : Path, optional
        File with the spans of simulator, Verilog and their differences.
    """

    reference: "Output"
    ran: engine.RunResult
    expected: Result
    trace: Path | None = None

    @property
    def mismatches(self) -> int:
        """Tokens' elements and scores that differ from the integer network's."""
        return mismatches(self.output, self.reference)

    @property
    def counters_differing(self) -> int:
        """Counters that differ from the simulator's."""
        return sum(self.expected.counters[name] != count
                   for name, count in self.ran.counters.items())

    @cached_property
    def spans_differing(self) -> int:
        """Spans of work that only the simulator or only the Verilog has, if they were recorded."""
        return len(differences(self.expected.spans, self.ran.spans, ("simulator", "rtl")))

    def measured(self) -> dict:
        figures = {"mismatches": self.mismatches, "counters": self.ran.counters}
        if self.trace is not None:
            figures |= {"trace": str(self.trace), "spans_differing": self.spans_differing}
        return figures

    def perfetto(self) -> str:
        """Return one Perfetto trace of simulator, Verilog and what only one of them did."""
        expected, measured = self.expected.spans, self.ran.spans
        return perfetto({"simulator": expected, "rtl": measured, "differences": differences(
            expected, measured, ("simulator", "rtl"))})


def mismatches(output: "Output", reference: "Output") -> int:
    """Return how many elements of tokens and scores differ."""
    count = int(np.count_nonzero(output.x != reference.x))
    if output.scores is not None and reference.scores is not None:
        count += int(np.count_nonzero(output.scores != reference.scores))
    return count


def run_program(program: NetworkProgram, *images: np.ndarray, memory: MemoryModel | None = None,
                spans: bool = False, progress: Progress = QUIET) -> engine.RunResult:
    """Run a program on the Verilog.

    Parameters
    ----------
    program : NetworkProgram
        With weights.
    *images : ndarray
        uint8 pixels (C, height, width) of each of its frames.
    memory : MemoryModel, optional
        Its latency and interval, in cycles; by default 20 and 1.
    spans : bool
        Whether to record what each unit did when.
    progress : Progress
        Is told that it runs.

    Raises
    ------
    ValueError, ProgramError
        The Verilator model cannot be built.
    RuntimeError
        The accelerator stopped with an error; names the descriptor.
    """
    memory = memory or MemoryModel()
    with progress.bar(BUILDING):
        result = engine.run(program, program.with_image(*images), latency=memory.latency,
                            interval=memory.interval, spans=spans)
    if result.error != ErrorCode.NONE:
        raise RuntimeError(f"the accelerator stopped at descriptor {result.error_index}: "
                           f"{result.error.name}")
    return result


def classified(weights: "Weights", hw: HwConfig, pixels: "Pixels", task: int) -> int | None:
    """Return the class that the Verilog finds for an image, or None without classes."""
    from deltamoe.golden.engines import Output

    program = compile_program(weights.quantized, hw, task)
    return Output(*program.outputs(run_program(program, pixels.numpy()).memory)).predicted


def run_verilog(model: str | Path | Network | Compilation,
                hardware: str | HwConfig | None = None, *, task: int | None = None,
                image: str | Path | None = None, latency: int = 20, interval: int = 1,
                trace: str | Path | None = None, progress: Progress = QUIET) -> VerilogRun:
    """Run one image on the Verilog, in Verilator, and compare bits and counters.

    The model of an accelerator is built once, which takes minutes, and is kept.

    Parameters
    ----------
    model, hardware, task
        As :func:`deltamoe.api.simulation.simulate` takes them; a policy of a compilation decides
        which operands are sent, and changes no bit without a theta.
    image : str or Path, optional
        Image of the network's size; by default its test image.
    latency, interval : int
        Cycles to the first beat of the memory, and from beat to beat.
    trace : str or Path, optional
        Perfetto trace to write, of simulator, Verilog and their differences.
    progress : Progress
        Is told that it runs.

    Raises
    ------
    ValueError
        Names what is wrong; or a tool to build with is missing.
    ProgramError
        Verilator or the C++ compiler failed.
    RuntimeError
        The accelerator stopped with an error; names the descriptor.
    """
    from deltamoe.golden.engines import Output, integer_output

    memory = MemoryModel(latency, interval)
    compilation = compiled(model, hardware=hardware, task=task)
    if compilation.frames > 1 or compilation.policy not in ("dense", "zero-skip"):
        raise ValueError(f"frames {compilation.frames}, policy {compilation.policy}: one image is "
                         "run, dense or zero-skip")
    engine.check_buildable(compilation.hw)
    network, pixels = compilation.network, pixels_of(compilation.network, image)
    real = real_of(network, pixels, compilation.task)
    reference, known = integer_output(network.weights, pixels, compilation.task)
    ran = run_program(compilation.program, pixels.numpy(), memory=memory, spans=trace is not None,
                      progress=progress)
    expected = simulate(compilation.program, from_trace(known, network.config), memory)
    run = VerilogRun(network, compilation.hw.name, "rtl", compilation.task,
                     Output(*compilation.program.outputs(ran.memory)), real, reference, ran,
                     expected, None if trace is None else Path(trace))
    if run.trace is not None:
        write(run.trace, run.perfetto())
    return run
