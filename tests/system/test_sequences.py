"""Frame after frame with what was kept: no bit differs from golden, no counter from the simulator.

With theta 0 no bit differs from dense inference either.
"""

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.operators import Part
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.plans import delta_units, fill, gate_units, named
from deltamoe.rtl.label import Role
from deltamoe.rtl.program import Linear, Mode
from deltamoe.sim.facts import from_traces
from deltamoe.sim.machine import simulate
from tests.support.sequence import assert_dense, run_exactly
from tests.system.networks import make

HW = PRESETS["nano"]
FRAMES = 16


def sequence(image: torch.Tensor, rng: np.random.Generator, count: int) -> list[torch.Tensor]:
    """Still frames, noise, a moved image, a cut to another."""
    frames = [image]
    for number in range(1, count):
        frame = frames[-1].clone()
        if number % 4 == 1:
            noise = torch.from_numpy(rng.integers(-3, 4, frame.shape))
            frame = (frame.to(torch.int64) + noise).clamp(0, 255).to(torch.uint8)
        elif number % 4 == 2:
            places = torch.from_numpy(rng.random(frame.shape) < 0.05)
            frame[places] = 255 - frame[places]
        elif number == count - 1:
            frame = torch.from_numpy(rng.integers(0, 256, frame.shape).astype(np.uint8))
        elif number % 8 == 7:
            frame = frame.roll(1, -1)
        frames.append(frame)
    return frames


def both(model, task: int, theta: int) -> Plan:
    """Token gates before all blocks, delta layers in front of them."""
    config = model.config
    gates = fill(gate_units(config, HW, task, theta), HW)
    left = (unit for unit in delta_units(config, HW, theta)
            if not unit.choices.keys() & gates.keys())
    return Plan(Choice(Policy.DENSE), gates | fill(left, HW))


@pytest.mark.verilator
@pytest.mark.parametrize("theta", [0, 2])
@pytest.mark.parametrize("policy", ["delta", "token-gate", "both"])
@pytest.mark.parametrize("number", range(3))
def test_sequence(policy: str, theta: int, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed + number)
    model, image, task = make(1000 * seed + 50 + 3 * number, HW, ("free", "ties", "one")[number])
    config = model.config
    plan = both(model, task, theta) if policy == "both" else named(policy, config, HW, task, theta)
    frames = sequence(image, rng, FRAMES)
    reference = Temporal(model, plan)
    traces = [reference.run(frame, task) for frame in frames]
    program = compile_program(model, HW, task, plan, frames=FRAMES)
    result = run_exactly(program, frames, traces, plan)
    if not theta:
        assert_dense(model, frames, traces, task)
    modes = {linear.mode for linear in program.descriptors if isinstance(linear, Linear)}
    assert (Mode.DELTA in modes) == (policy != "token-gate")
    assert (Mode.REPLAY in modes) == (policy != "delta")
    assert result.counters["kept_words"] > 0


@pytest.mark.parametrize("policy", ["delta", "token-gate"])
def test_equal_frames_cost_least(policy: str, seed: int) -> None:
    """A frame that does not differ sends nothing where something is kept."""
    model, image, task = make(1000 * seed + 53, HW, "free")
    plan = named(policy, model.config, HW, task)
    runs = Temporal(model, plan)
    first, second = (runs.run(image, task) for _ in range(2))
    later = compile_program(model, HW, task, plan, continues=True)
    fresh = compile_program(model, HW, task, plan)
    whole, rest = (simulate(program, from_traces([trace], model.config, plan))
                   for program, trace in ((fresh, first), (later, second)))
    kept = [layer.macs for layer in rest.layers
            if layer.label.operator and layer.label.role in (None, Role.REPLAY)
            and layer.label.operator.whole in plan.operators
            and layer.label.operator.part != Part.GATE]
    assert kept
    assert not any(kept)
    assert rest.counters["macs"] < whole.counters["macs"]
    assert rest.cycles < whole.cycles
