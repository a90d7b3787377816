"""Plans: each operator's choice, and one message for each mistake."""

from dataclasses import replace

import pytest

from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import EVERY, Operator, Part, operator_named, operators
from deltamoe.golden.temporal.policy import Choice, Plan, Policy, policies

CONFIG = replace(MODELS["digits"], num_layers=2)


def test_the_default_reaches_every_operator_that_has_it() -> None:
    first, gate = Operator(Part.FC1, 0), Operator(Part.GATE, 1, task=0)
    choices = Plan(Choice(Policy.TOKEN_GATE, 2), {first: Choice(Policy.DENSE)}).resolve(CONFIG)
    assert tuple(choices) == operators(CONFIG)
    assert choices.pop(first) == Choice(Policy.DENSE)
    for operator, choice in choices.items():
        lacks = operator.part == Part.ATTENTION
        assert choice == (Choice(Policy.ZERO_SKIP) if lacks else Choice(Policy.TOKEN_GATE, 2))
    assert Plan(Choice(Policy.DELTA, 1)).resolve(CONFIG)[gate].policy == "delta"


def test_every_policy_that_an_operator_has_is_accepted() -> None:
    counts = {"patch": 4, "blocks.0.attention": 2, "blocks.1.gate.1": 4, "blocks.1.experts.fc2": 4,
              "head.0": 4}
    for name, count in counts.items():
        operator = operator_named(name, CONFIG)
        assert len(set(policies(operator))) == count
        for policy in policies(operator):
            plan = Plan(operators={operator: Choice(policy)})
            assert plan.resolve(CONFIG)[operator].policy == policy


@pytest.mark.parametrize(("plan", "words"), [
    (Plan(operators={Operator(Part.GATE, 0, task=0): Choice(Policy.DELTA)}),
     r"^digits has no operator 'blocks\.0\.gate\.0'; it has patch, .*, head\.1$"),
    (Plan(operators={Operator(Part.FC1, 1, 0): Choice(Policy.DELTA)}),
     r"no operator 'blocks\.1\.experts\.0\.fc1'"),
    (Plan(operators={Operator(Part.FC1, 0, EVERY): Choice(Policy.DELTA)}),
     r"no operator 'blocks\.0\.experts\.fc1'"),
    (Plan(operators={Operator(Part.HEAD, task=2): Choice(Policy.DELTA)}), r"no operator 'head\.2'"),
    (Plan(operators={Operator(Part.PATCH): Choice(Policy.DELTA, -1)}),
     r"^theta=-1 of patch is not an integer of at least 0$"),
    (Plan(Choice(Policy.DELTA, 0.5)), r"^theta=0\.5 of the default is not an integer"),
    (Plan(operators={Operator(Part.PATCH): Choice(Policy.DENSE, 3)}),
     r"^theta=3 of patch: dense compares with no earlier frame; only delta and token-gate do$"),
    (Plan(operators={Operator(Part.ATTENTION, 0): Choice(Policy.DELTA)}),
     r"^policy 'delta' of blocks\.0\.attention is not one of dense, zero-skip$"),
    (Plan(Choice("sparse")),
     r"^policy 'sparse' of the default is not one of dense, zero-skip, delta, token-gate$"),
])
def test_what_does_not_fit_is_refused_by_name(plan: Plan, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan.resolve(CONFIG)
