"""What is kept on the chip from frame to frame, and where."""

from dataclasses import replace

import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import EVERY, Operator, Part, feed_forward
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.kept_state import Keeping, Region
from deltamoe.rtl.compiler.plans import named
from tests.support.cases import HW

DIGITS = MODELS["digits"]

GATE = Operator(Part.GATE, 1, task=0)


def gated(layer: int, theta: int = 0) -> dict[Operator, Choice]:
    """Choices of a token gate before the second half of a block of the digits network."""
    fc1, fc2 = feed_forward(DIGITS, layer)
    first = [GATE, fc1] if DIGITS.is_moe(layer) else [fc1]
    return {**dict.fromkeys((replace(operator, layer=layer) for operator in first),
                            Choice(Policy.TOKEN_GATE, theta)), fc2: Choice(Policy.TOKEN_GATE)}


@pytest.mark.parametrize(("operators", "hardware", "said"), [
    ({Operator(Part.FC1, 1, EVERY): Choice(Policy.DELTA)}, PRESETS["ulx3s"],
     "its state_words are 0"),
    ({Operator(Part.PATCH): Choice(Policy.TOKEN_GATE)}, HW, "whole block: not here"),
    ({Operator(Part.FC1, 0): Choice(Policy.TOKEN_GATE)}, HW, "block: blocks.0.fc1, blocks.0.fc2"),
    (gated(0, 2) | {Operator(Part.FC2, 0): Choice(Policy.TOKEN_GATE, 1)}, HW, "blocks.0.fc1, "),
    (gated(1, 2) | {GATE: Choice(Policy.TOKEN_GATE, 1)}, HW, "blocks.1.gate.0"),
    ({Operator(Part.PATCH): Choice(Policy.DELTA)}, PRESETS["ulx3s"],
     "ulx3s executes dense and zero-skip"),
])
def test_what_hardware_does_not_execute(operators, hardware, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Keeping(DIGITS, hardware, 0, Plan(Choice(Policy.DENSE), operators))


def test_gates_of_other_tasks_do_not_matter() -> None:
    plan = Plan(Choice(Policy.DENSE), gated(1, 3))
    assert Keeping(DIGITS, HW, 0, plan).gate(Operator(Part.FC2, 1, EVERY)) == Policy.TOKEN_GATE
    with pytest.raises(ValueError, match=r"gate\.1"):
        Keeping(DIGITS, HW, 1, plan)


def every_gate() -> Plan:
    """Gates before all blocks of the digits network: 136 words of sums, of experts 272."""
    return Plan(Choice(Policy.DENSE), {
        operator: choice for layer in range(4) for operator, choice in gated(layer).items()})


@pytest.mark.parametrize(("sums", "references", "stays", "reserved"), [
    (816, 544, {0, 1, 2, 3}, [816, 544]), (815, 544, {0}, [136, 136]),
    (816, 543, {0}, [136, 136]), (1000, 408, {0}, [136, 136]), (1000, 407, set(), [0, 0]),
    (679, 512, set(), [0, 0])])
def test_gates_stay_on_chip_or_leave_room_for_two(sums: int, references: int, stays: set[int],
                                                  reserved: list[int]) -> None:
    plan = every_gate()
    keeping = Keeping(DIGITS, replace(HW, state_words=sums, reference_words=references), 0, plan)
    assert keeping.streamed == {operator for operator in plan.operators
                                if operator.layer not in stays}
    assert [keeping.state.reserved, keeping.references.reserved] == reserved


def test_token_gate_takes_the_blocks_that_stay_or_stream() -> None:
    for sums, references, layers in ((272, 136, {0, 1, 2, 3}), (271, 136, {0, 2}),
                                     (135, 136, set()), (4096, 135, set())):
        hw = replace(HW, state_words=sums, reference_words=references)
        gates = named("token-gate", DIGITS, hw).operators
        assert {operator.layer for operator in gates} == layers


def test_regions_are_handed_out_once() -> None:
    region = Region(10, "state_words")
    assert [region.take("a", 4), region.take("b", 6), region.take("a", 4)] == [0, 4, 0]
    with pytest.raises(ValueError, match="c keeps 1 state_words, the hardware has 0 of 10 left"):
        region.take("c", 1)


def test_sums_and_operands_are_kept_together() -> None:
    with pytest.raises(ValueError, match="state_words=0 and reference_words=4096"):
        replace(HW, state_words=0)
