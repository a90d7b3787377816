"""Random networks on random hardware: no bit differs from golden, no counter from the simulator."""

from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from deltamoe.boards.verilator import engine
from deltamoe.golden.integer import infer
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.program import ErrorCode
from deltamoe.sim.facts import from_trace, from_traces
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from tests.system.networks import HARDWARE, ROUTINGS, make


def drawn(hardware: str, number: int, seed: int) -> int:
    """Return the seed of a network, another one for every name, number and seed."""
    return crc32(f"{hardware} {number} {seed}".encode())


CASES = [(hardware, number) for hardware in HARDWARE for number in range(8)]


@pytest.mark.verilator
@pytest.mark.parametrize(("hardware", "number"), CASES)
def test_bits_and_counters(hardware: str, number: int, seed: int) -> None:
    hw = HARDWARE[hardware]
    routing = ROUTINGS[number % 3]
    model, image, task = make(drawn(hardware, number, seed), hw, routing)
    plan = Plan(Choice((Policy.DENSE, Policy.ZERO_SKIP)[number // 3 % 2]))
    memory = MemoryModel((20, 1, 60)[number % 3], (1, 3, 2)[number % 4 % 3])
    program = compile_program(model, hw, task, plan)
    trace = infer(model, image, task)

    result = engine.run(program, program.with_image(image.numpy()), latency=memory.latency,
                        interval=memory.interval)
    assert result.error == ErrorCode.NONE
    x, scores = program.outputs(result.memory)
    np.testing.assert_array_equal(x, trace.x.numpy())
    assert np.unique(x).size > 10, "the output is nearly constant"
    if scores is not None:
        np.testing.assert_array_equal(scores, trace.scores.numpy())

    predicted = simulate(program, from_trace(trace, model.config), memory)
    assert dict(predicted.counters) == result.counters

    stalled = engine.run(program, program.with_image(image.numpy()), latency=memory.latency,
                         interval=memory.interval, stall_seed=number + 1)
    np.testing.assert_array_equal(stalled.memory, result.memory)
    assert stalled.counters["cycles"] > result.counters["cycles"]


@pytest.mark.verilator
@pytest.mark.parametrize("hardware", HARDWARE)
def test_frames_back_to_back(hardware: str, seed: int) -> None:
    """Three different images in one program, each as if it were alone, in less than thrice."""
    hw, cycles = HARDWARE[hardware], []
    model, image, task = make(drawn(hardware, len(CASES), seed), hw, "free")
    images = [image.roll(n, -1) for n in range(3)]
    program = compile_program(model, hw, task, frames=3)
    traces = [infer(model, frame, task) for frame in images]
    result = engine.run(program, program.with_image(*(frame.numpy() for frame in images)))
    assert result.error == ErrorCode.NONE
    for number, trace in enumerate(traces):
        np.testing.assert_array_equal(program.outputs(result.memory, number)[0], trace.x.numpy())
        alone = compile_program(model, hw, task)
        cycles.append(simulate(alone, from_trace(trace, model.config)).cycles)
    assert result.counters["cycles"] < sum(cycles)
    predicted = simulate(program, from_traces(traces, model.config))
    assert dict(predicted.counters) == result.counters


def test_every_case_is_another_network(seed: int) -> None:
    """The dimensions of the networks differ, not only their names."""
    every = [make(drawn(hardware, number, seed), HARDWARE[hardware], "free")[0].config
             for hardware, number in CASES]
    shapes = {replace(config, name="") for config in every}
    assert len(shapes) > 0.9 * len(CASES)


def test_routings_are_skewed(seed: int) -> None:
    """One expert gets every token; equal gates give every token the lowest experts."""
    found = set()
    for number in range(30):
        for routing in ("one", "ties"):
            model, image, task = make(1000 * seed + number, HARDWARE["nano"], routing)
            config = model.config
            if not config.num_experts or config.num_layers < 2:
                continue
            experts, _ = infer(model, image, task).routes[1]
            if routing == "one":
                assert (experts[:, 0] == config.num_experts - 1).all()
            else:
                assert (experts == experts.new_tensor(range(config.top_k))).all()
            found.add((routing, config.top_k < config.num_experts))
    assert {("one", True), ("ties", True)} <= found
