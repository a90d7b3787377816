"""``auto`` is never much slower than dense, not on what it saw nor on how that goes on."""

from dataclasses import replace

import pytest

from golden.integer import Integer
from golden.library import find
from golden.policy import Plan
from golden.temporal import Temporal
from golden.video import frames
from rtl.compiler import DENSE, compile_program
from rtl.config import PRESETS
from rtl.plans import named
from rtl.program import Opcode, Target
from scripts.choosing import automatic
from scripts.commands.video import places
from sim.facts import from_trace
from sim.machine import simulate
from sim.memory import MemoryModel

SEEN, UNSEEN = 4, 3

NANO = PRESETS["nano"]
SMALL = replace(NANO, name="small", state_words=96, reference_words=128)
"""Too small for most of what layers keep, which then streams."""


def cycles(plan: Plan, trace, memory: MemoryModel, hw, *, later: bool) -> int:
    network = find("digits").quantized
    program = compile_program(network, hw, 0, plan, continues=later)
    return simulate(program, from_trace(trace, network.config, plan), memory).cycles


@pytest.mark.parametrize("video", ["fixed", "object", "pan"])
@pytest.mark.parametrize(("hw", "interval", "theta"), [
    (NANO, 1, 0), (NANO, 1, 3), (SMALL, 1, 0), (SMALL, 16, 0)],
    ids=["nano", "nano-theta", "small", "small-slow"])
def test_auto_loses_at_most_one_percent(video: str, hw, interval: int, theta: int) -> None:
    network, memory = find("digits").quantized, MemoryModel(20, interval)
    shown = list(frames(f"generator:{video}", network.config, SEEN + UNSEEN, 5))
    tried, *_, plan = automatic(network, hw, 0, theta, shown[:SEEN], memory)
    assert tried > 1
    kept, dense = Temporal(network, plan), Integer(network)
    for number, frame in enumerate(shown):
        mine, whole = kept.run(frame, 0), dense.run(frame, 0)
        if number >= SEEN - 1:
            most = cycles(DENSE, whole, memory, hw, later=True)
            assert cycles(plan, mine, memory, hw, later=True) <= 1.01 * most


def test_dense_wins_where_nothing_stays() -> None:
    """Frames of noise through a slow memory: all that could be kept changes."""
    network, memory = find("digits").quantized, MemoryModel(20, 64)
    shown = [next(iter(frames("generator:object", network.config, 1, seed))).flip(seed % 2)
             for seed in range(SEEN)]
    *_, plan = automatic(network, SMALL, 0, 0, shown, memory)
    before = cycles(DENSE, Integer(network).run(shown[-1], 0), memory, SMALL, later=True)
    own = Temporal(network, plan)
    *_, trace = [own.run(frame, 0) for frame in shown]
    assert cycles(plan, trace, memory, SMALL, later=True) <= before


@pytest.mark.parametrize("hw", [NANO, SMALL], ids=["nano", "small"])
def test_state_is_said_where_it_is(hw) -> None:
    """In memory is what the program stores there; each operator that remembers is named."""
    network = find("digits").quantized
    plan = named("delta", network.config, hw)
    program = compile_program(network, hw, 0, plan, continues=True)
    stored = {name.removesuffix(".store") for name, word in zip(
        program.names, program.descriptors, strict=True)
        if word["opcode"] == Opcode.STORE and word.get("target") == Target.STATE}
    said = places(plan, network.config, hw, 0)
    assert said.keys() == plan.operators.keys()
    assert stored == {name for name, where in said.items() if where == "memory"}
    assert bool(stored) == (hw is SMALL)


def test_auto_follows_experts_whose_operands_hardly_move() -> None:
    network = find("digits").quantized
    shown = list(frames("generator:fixed", network.config, SEEN, 5))
    *_, plan = automatic(network, NANO, 0, 0, shown, MemoryModel())
    assert {"blocks.1.experts.fc2", "blocks.3.experts.fc2"} <= plan.operators.keys()


def test_with_theta_no_tried_plan_is_faster() -> None:
    """Each by its own run: what one layer leaves out changes what the next ones see."""
    network, memory, theta = find("digits").quantized, MemoryModel(20), 4
    shown = list(frames("generator:pan", network.config, SEEN, 2))

    def own(plan: Plan) -> int:
        run = Temporal(network, plan)
        *_, trace = [run.run(frame, 0) for frame in shown]
        return cycles(plan, trace, memory, NANO, later=True)

    _, *plans, chosen = automatic(network, NANO, 0, theta, shown, memory)
    assert len(plans) > 2
    assert own(chosen) == min(map(own, plans))
