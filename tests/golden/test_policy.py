"""Plans: each operator's choice, and one message for each mistake."""

from dataclasses import replace

import pytest

from deltamoe.golden.config import MODELS
from deltamoe.golden.temporal.policy import (
    Choice,
    Plan,
    Policy,
    operator_names,
    operator_of,
    policies,
)

CONFIG = replace(MODELS["digits"], num_layers=2)


def test_operators_are_those_of_the_network_in_order() -> None:
    attention = ["q", "k", "v", "attention", "proj"]
    assert operator_names(CONFIG) == [
        "patch", *(f"blocks.0.{part}" for part in [*attention, "fc1", "fc2"]),
        *(f"blocks.1.{part}" for part in [*attention, "gate.0", "gate.1", "experts.fc1",
                                          "experts.fc2"]), "head.0", "head.1"]
    plain = operator_names(MODELS["m3vit-tiny-129"])
    assert plain[-1] == "blocks.11.experts.fc2"
    assert not any("gate" in name or "experts" in name
                   for name in operator_names(MODELS["deit-tiny-197"]))


@pytest.mark.parametrize(("product", "operator"), [
    ("blocks.1.experts.3.fc1", "blocks.1.experts.fc1"),
    ("blocks.11.experts.15.fc2", "blocks.11.experts.fc2"),
    ("blocks.0.attention.scores", "blocks.0.attention"),
    ("blocks.0.attention.values", "blocks.0.attention"),
    ("blocks.1.gate.0", "blocks.1.gate.0"), ("patch", "patch"), ("head.1", "head.1"),
])
def test_a_product_belongs_to_its_operator(product: str, operator: str) -> None:
    assert operator_of(product) == operator


def test_the_default_reaches_every_operator_that_has_it() -> None:
    choices = Plan(Choice(Policy.TOKEN_GATE, 2),
                   {"blocks.0.fc1": Choice(Policy.DENSE)}).resolve(CONFIG)
    assert list(choices) == operator_names(CONFIG)
    assert choices.pop("blocks.0.fc1") == Choice(Policy.DENSE)
    for name, choice in choices.items():
        lacks = name.endswith(".attention")
        assert choice == (Choice(Policy.ZERO_SKIP) if lacks else Choice(Policy.TOKEN_GATE, 2))
    assert Plan(Choice(Policy.DELTA, 1)).resolve(CONFIG)["blocks.1.gate.0"].policy == "delta"


def test_every_policy_that_an_operator_has_is_accepted() -> None:
    counts = {"patch": 4, "blocks.0.attention": 2, "blocks.1.gate.1": 4, "blocks.1.experts.fc2": 4,
              "head.0": 4}
    for name, count in counts.items():
        assert len(set(policies(name))) == count
        for policy in policies(name):
            assert Plan(operators={name: Choice(policy)}).resolve(CONFIG)[name].policy == policy


@pytest.mark.parametrize(("plan", "words"), [
    (Plan(operators={"blocks.0.gate.0": Choice(Policy.DELTA)}),
     r"^digits has no operator 'blocks\.0\.gate\.0'; it has patch, .*, head\.1$"),
    (Plan(operators={"blocks.1.experts.0.fc1": Choice(Policy.DELTA)}), r"no operator 'blocks\.1"),
    (Plan(operators={"head.2": Choice(Policy.DELTA)}), r"no operator 'head\.2'"),
    (Plan(operators={"patch": Choice(Policy.DELTA, -1)}),
     r"^theta=-1 of patch is not an integer of at least 0$"),
    (Plan(Choice(Policy.DELTA, 0.5)), r"^theta=0\.5 of the default is not an integer"),
    (Plan(operators={"patch": Choice(Policy.DENSE, 3)}),
     r"^theta=3 of patch: dense compares with no earlier frame; only delta and token-gate do$"),
    (Plan(operators={"blocks.0.attention": Choice(Policy.DELTA)}),
     r"^policy 'delta' of blocks\.0\.attention is not one of dense, zero-skip$"),
    (Plan(Choice("sparse")),
     r"^policy 'sparse' of the default is not one of dense, zero-skip, delta, token-gate$"),
])
def test_what_does_not_fit_is_refused_by_name(plan: Plan, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan.resolve(CONFIG)
