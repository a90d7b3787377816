"""What each operator sends of a frame: the policies, and one choice of them for a network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import Operator, Part, operators


class Policy(StrEnum):
    """Which elements of an operand become events.

    ``dense`` all. ``zero-skip`` those that are not the code of zero. ``delta`` those that differ
    by more than theta from what was sent before: delta networks, arXiv 2107.07305.
    ``token-gate`` all of the rows in which one does: Eventful Transformers, arXiv 2308.13494.
    """

    DENSE = "dense"
    ZERO_SKIP = "zero-skip"
    DELTA = "delta"
    TOKEN_GATE = "token-gate"


REMEMBERING = (Policy.DELTA, Policy.TOKEN_GATE)
"""Policies that compare with an earlier frame; the others are the same in every frame."""


@dataclass(frozen=True)
class Choice:
    """A policy and, for one that remembers, the largest difference that it leaves out."""

    policy: Policy
    theta: int = 0


@dataclass(frozen=True)
class Plan:
    """The choice of every operator.

    Attributes
    ----------
    default : Choice
        For the operators that have its policy and are not named in ``operators``; those that lack
        it skip zeros, which changes no result.
    operators : Mapping of Operator to Choice
        Those of :func:`deltamoe.golden.operators.operators`: the attention's is for both of its
        products, a layer's of the experts for every expert.
    """

    default: Choice = Choice(Policy.DELTA)
    operators: Mapping[Operator, Choice] = field(default_factory=dict)

    def resolve(self, config: ModelConfig) -> dict[Operator, Choice]:
        """Return the choice of each operator of ``config``.

        Raises
        ------
        ValueError
            An operator or a policy does not exist, an operator lacks its policy, or a theta is
            negative or has nothing to compare with.
        """
        every = operators(config)
        for operator in self.operators:
            if operator not in every:
                raise ValueError(f"{config.name} has no operator '{operator}'; it has "
                                 f"{', '.join(map(str, every))}")
        check_choice("the default", self.default, tuple(Policy))
        for operator, choice in self.operators.items():
            check_choice(str(operator), choice, policies(operator))
        return {operator: self.operators.get(operator) or (
            self.default if self.default.policy in policies(operator)
            else Choice(Policy.ZERO_SKIP)) for operator in every}


def check_choice(name: str, choice: Choice, allowed: tuple[Policy, ...]) -> None:
    """Raise ValueError unless ``choice`` is complete and its policy is ``allowed``."""
    if choice.policy not in allowed:
        raise ValueError(f"policy {str(choice.policy)!r} of {name} is not one of "
                         f"{', '.join(allowed)}")
    if type(choice.theta) is not int or choice.theta < 0:
        raise ValueError(f"theta={choice.theta!r} of {name} is not an integer of at least 0")
    if choice.theta and choice.policy not in REMEMBERING:
        raise ValueError(f"theta={choice.theta} of {name}: {choice.policy} compares with no "
                         f"earlier frame; only {' and '.join(REMEMBERING)} do")


def policies(operator: Operator) -> tuple[Policy, ...]:
    """Return the policies that ``operator`` has.

    Attention is always recomputed. One changed key changes all its column of scores, so following
    the changes of both factors costs ``2 R T d`` for ``R`` changed tokens instead of ``T**2 d``:
    less only for fewer than half of the ``T`` tokens, and it needs ``T * T`` accumulators a head.
    """
    if operator.part == Part.ATTENTION:
        return Policy.DENSE, Policy.ZERO_SKIP
    return tuple(Policy)
