"""One inference after another in Verilog, against golden and the simulator."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from deltamoe.boards.verilator import engine
from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.temporal.policy import Plan
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.program import ErrorCode
from deltamoe.sim.facts import from_traces
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel


def run_exactly(program: NetworkProgram, frames: Sequence[Tensor], traces: Sequence[Trace],
                plan: Plan | None = None, memory: MemoryModel | None = None) -> engine.RunResult:
    """Run ``frames``: no bit may differ from golden's traces, no counter from the simulator's."""
    memory = memory or MemoryModel()
    result = engine.run(program, program.with_image(*(frame.numpy() for frame in frames)),
                        latency=memory.latency, interval=memory.interval)
    assert result.error == ErrorCode.NONE
    for number, trace in enumerate(traces):
        x, scores = program.outputs(result.memory, number)
        np.testing.assert_array_equal(x, trace.x.numpy())
        if scores is not None:
            np.testing.assert_array_equal(scores, trace.scores.numpy())
    predicted = simulate(program, from_traces(traces, program.config, plan), memory)
    assert dict(predicted.counters) == result.counters
    return result


def assert_dense(model: QuantizedModel, frames: Sequence[Tensor], traces: Sequence[Trace],
                 task: int) -> None:
    """No bit of the traces may differ from dense inference."""
    for frame, trace in zip(frames, traces, strict=True):
        np.testing.assert_array_equal(trace.x.numpy(), infer(model, frame, task).x.numpy())
