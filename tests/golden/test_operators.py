"""Names of operators are printed from values and found by equality."""

import pytest

from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import (
    EVERY,
    Operator,
    Part,
    feed_forward,
    operator_named,
    operators,
)

DIGITS = MODELS["digits"]


@pytest.mark.parametrize(("operator", "name"), [
    (Operator(Part.PATCH), "patch"),
    (Operator(Part.Q, 1), "blocks.1.q"),
    (Operator(Part.ATTENTION, 0), "blocks.0.attention"),
    (Operator(Part.SCORES, 0), "blocks.0.attention.scores"),
    (Operator(Part.VALUES, 10), "blocks.10.attention.values"),
    (Operator(Part.FC1, 0), "blocks.0.fc1"),
    (Operator(Part.FC1, 1, EVERY), "blocks.1.experts.fc1"),
    (Operator(Part.FC2, 1, 3), "blocks.1.experts.3.fc2"),
    (Operator(Part.GATE, 1, task=0), "blocks.1.gate.0"),
    (Operator(Part.HEAD, task=1), "head.1"),
])
def test_an_operator_prints_whose_it_is(operator, name):
    assert str(operator) == name


def test_operators_are_listed_in_the_order_in_which_they_run():
    half = ["q", "k", "v", "attention", "proj"]
    assert [str(operator) for operator in operators(DIGITS)] == [
        "patch", *(f"blocks.{layer}.{part}" for layer in range(4) for part in (
            [*half, "gate.0", "gate.1", "experts.fc1", "experts.fc2"] if layer % 2
            else [*half, "fc1", "fc2"])), "head.0", "head.1"]


@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
def test_every_operator_is_found_by_its_name_and_no_other(config):
    listed = operators(config)
    assert [operator_named(str(operator), config) for operator in listed] == list(listed)
    for name in ("", "blocks.0", "blocks.0.attention.scores", "blocks.1.experts.0.fc1"):
        with pytest.raises(ValueError, match=f"has no operator '{name}'; it has patch, "):
            operator_named(name, config)


def test_a_product_knows_the_operator_that_it_is_of():
    fc1, fc2 = feed_forward(DIGITS, 1)
    assert [fc1.of_expert(2).whole, fc1.whole, fc2.of_expert(0).whole] == [fc1, fc1, fc2]
    assert {Operator(part, 1).whole for part in (Part.SCORES, Part.VALUES, Part.ATTENTION)
            } == {Operator(Part.ATTENTION, 1)}
    assert fc1.of_expert(2).beside(Part.FC2) == fc2.of_expert(2)
    assert all(operator.whole == operator for operator in operators(DIGITS))


def test_a_task_runs_its_own_gates_and_head():
    runs = [str(operator) for operator in operators(DIGITS) if operator.runs_for(1)]
    assert {"blocks.1.gate.1", "head.1", "patch", "blocks.1.experts.fc2"} <= set(runs)
    assert not {"blocks.1.gate.0", "head.0"} & set(runs)


def test_what_is_in_no_block_has_no_name_of_one():
    assert Operator(Part.V, 3).block == "blocks.3"
    with pytest.raises(ValueError, match="patch is in no block"):
        _ = Operator(Part.PATCH).block
