"""What each operator sends of a frame: the policies, and one choice of them for a network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from deltamoe.golden.config import ModelConfig


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
    operators : Mapping of str to Choice
        By name: ``patch``, ``blocks.{i}.q``, ``.k``, ``.v``, ``.attention`` (both products),
        ``.proj``, ``.fc1``, ``.fc2`` or ``.gate.{task}``, ``.experts.fc1``, ``.experts.fc2``
        (every expert); ``head.{task}``.
    """

    default: Choice = Choice(Policy.DELTA)
    operators: Mapping[str, Choice] = field(default_factory=dict)

    def resolve(self, config: ModelConfig) -> dict[str, Choice]:
        """Return the choice of each operator of ``config``.

        Raises
        ------
        ValueError
            An operator or a policy does not exist, an operator lacks its policy, or a theta is
            negative or has nothing to compare with.
        """
        names = operator_names(config)
        for name in self.operators:
            if name not in names:
                raise ValueError(f"{config.name} has no operator {name!r}; it has "
                                 f"{', '.join(names)}")
        check("the default", self.default, tuple(Policy))
        for name, choice in self.operators.items():
            check(name, choice, policies(name))
        return {name: self.operators.get(name) or (
            self.default if self.default.policy in policies(name) else Choice(Policy.ZERO_SKIP)
        ) for name in names}


def check(name: str, choice: Choice, allowed: tuple[Policy, ...]) -> None:
    """Raise ValueError unless ``choice`` is complete and its policy is ``allowed``."""
    if choice.policy not in allowed:
        raise ValueError(f"policy {str(choice.policy)!r} of {name} is not one of "
                         f"{', '.join(allowed)}")
    if type(choice.theta) is not int or choice.theta < 0:
        raise ValueError(f"theta={choice.theta!r} of {name} is not an integer of at least 0")
    if choice.theta and choice.policy not in REMEMBERING:
        raise ValueError(f"theta={choice.theta} of {name}: {choice.policy} compares with no "
                         f"earlier frame; only {' and '.join(REMEMBERING)} do")


def operator_names(config: ModelConfig) -> list[str]:
    """Return the operators with a policy, in the order in which they run."""
    names = ["patch"]
    for layer in range(config.num_layers):
        parts = ["q", "k", "v", "attention", "proj"]
        if config.is_moe(layer):
            parts += [f"gate.{task}" for task in range(config.num_tasks)]
            parts += ["experts.fc1", "experts.fc2"]
        else:
            parts += ["fc1", "fc2"]
        names += [f"blocks.{layer}.{part}" for part in parts]
    return names + [f"head.{task}" for task in range(len(config.num_classes))]


def policies(operator: str) -> tuple[Policy, ...]:
    """Return the policies that ``operator`` has.

    Attention is always recomputed. One changed key changes all its column of scores, so following
    the changes of both factors costs ``2 R T d`` for ``R`` changed tokens instead of ``T**2 d``:
    less only for fewer than half of the ``T`` tokens, and it needs ``T * T`` accumulators a head.
    """
    if operator.endswith(".attention"):
        return Policy.DENSE, Policy.ZERO_SKIP
    return tuple(Policy)


def operator_of(product: str) -> str:
    """Return the operator of one matrix product, as a trace names it.

    ``blocks.1.experts.3.fc1`` is of ``blocks.1.experts.fc1``, ``blocks.0.attention.scores`` and
    ``.values`` are of ``blocks.0.attention``; every other is one itself.
    """
    return re.sub(r"\.experts\.\d+|\.attention\..*",
                  lambda part: f".{part[0].split('.')[1]}", product)
