"""Which operators keep what from one frame to the next, and where."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from golden.config import ModelConfig
from golden.policy import Choice, Plan, Policy
from rtl.config import HwConfig


@dataclass
class Region:
    """Words of an on-chip memory, handed out once for each name."""

    depth: int
    name: str
    used: int = 0
    bases: dict[str, int] = field(default_factory=dict)

    def take(self, owner: str, size: int) -> int:
        """Return the first word of ``owner``, the same one every time.

        Raises
        ------
        ValueError
            It does not fit.
        """
        if owner not in self.bases:
            if self.used + size > self.depth:
                raise ValueError(f"{owner} keeps {size} {self.name}, the hardware has "
                                 f"{self.depth - self.used} of {self.depth} left")
            self.bases[owner] = self.used
            self.used += size
        return self.bases[owner]


class Keeping:
    """The choice of every operator that the hardware executes.

    Other tasks' gates and heads are left out. A delta layer keeps its operand and its sums. A
    token gate stands before a whole block: of dense layers (``fc1`` and ``fc2``) or of experts
    (gate, ``experts.fc1`` and ``experts.fc2``). It keeps the block's operand and the sums of its
    last layer, a token's once for each of its experts, so that a token that did not change costs
    the drain of these.

    Raises
    ------
    ValueError
        The plan asks for what the hardware does not execute, or not for this operator.
    """

    def __init__(self, config: ModelConfig, hw: HwConfig, task: int, plan: Plan) -> None:
        self.choices: Mapping[str, Choice] = {
            name: choice for name, choice in plan.resolve(config).items()
            if not re.search(rf"(gate|head)\.(?!{task}$)", name)}
        self.state = Region(hw.state_words, "state_words")
        self.references = Region(hw.reference_words, "reference_words")
        for name, choice in self.choices.items():
            if choice.policy == Policy.DELTA and ".experts." in name:
                raise ValueError(f"{name}: hardware executes dense, zero-skip and token-gate, not "
                                 "delta: the tokens of an expert change from frame to frame")
            if choice.policy in (Policy.DELTA, Policy.TOKEN_GATE) and not hw.temporal:
                raise ValueError(f"{name}: {hw.name} executes dense and zero-skip, not "
                                 f"{choice.policy}: its state_words are 0")
            if choice.policy == Policy.TOKEN_GATE and self.gate(name) != choice.policy:
                raise ValueError(f"{name}: hardware executes token-gate for a whole block: "
                                 f"{', '.join(self.members(name)) or 'not here'}")

    def members(self, name: str) -> list[str]:
        """Operators of the block behind a token gate that ``name`` belongs to."""
        layer = name.split(".")[1] if name.startswith("blocks.") else ""
        block = [part for part in self.choices if part.startswith(f"blocks.{layer}.")
                 and any(mark in part for mark in (".fc1", ".fc2", ".gate."))]
        return block if name in block else []

    def gate(self, name: str) -> Policy | None:
        """Return token-gate if all of its block has it, the first parts with the same theta."""
        block = self.members(name)
        choices = [self.choices[part] for part in block]
        gated = block and all(choice.policy == Policy.TOKEN_GATE for choice in choices)
        first = {choice.theta for part, choice in zip(block, choices, strict=True)
                 if not part.endswith("fc2")}
        last = {self.choices[part].theta for part in block if part.endswith("fc2")}
        return Policy.TOKEN_GATE if gated and len(first) == 1 and last == {0} else None
