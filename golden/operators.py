"""What a network runs, as values: a part of a block, and whose it is; no torch."""

from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from deltamoe.golden.config import ModelConfig


class Part(StrEnum):
    """What an operator is of its network or of its block."""

    PATCH = "patch"
    Q = "q"
    K = "k"
    V = "v"
    ATTENTION = "attention"
    SCORES = "scores"
    VALUES = "values"
    PROJ = "proj"
    FC1 = "fc1"
    FC2 = "fc2"
    GATE = "gate"
    HEAD = "head"


QKV = (Part.Q, Part.K, Part.V)
"""What makes the operands of the attention."""


class Experts(Enum):
    """Whose an operator is, if not one expert's."""

    EVERY = "every"


EVERY = Experts.EVERY


@dataclass(frozen=True)
class Operator:
    """One operator of a network, or one matrix product of an operator.

    A plan chooses for operators, and a network stores the tensors of operators: those of
    :func:`operators`. A trace has products: the attention is two of them, scores and values, and a
    layer of the experts is one of each expert. Any other operator is its only product.

    Attributes
    ----------
    part : Part
        What it is.
    layer : int, optional
        Its block; None for the patches and the heads.
    expert : int or Experts, optional
        Its expert, or ``EVERY``; None outside the experts.
    task : int, optional
        Whose gate or head it is; None for all others, which every task runs.
    """

    part: Part
    layer: int | None = None
    expert: int | Experts | None = None
    task: int | None = None

    def __str__(self) -> str:
        words = [self.owner, self.part, "" if self.task is None else str(self.task)]
        return ".".join(filter(None, words))

    @property
    def owner(self) -> str:
        """Name of what it is a part of: an attention, experts or one of them, or only a block."""
        words = [] if self.layer is None else [block(self.layer)]
        if self.part in (Part.SCORES, Part.VALUES):
            words.append(Part.ATTENTION)
        if self.expert is not None:
            words.append("experts" if self.expert is EVERY else f"experts.{self.expert}")
        return ".".join(words)

    @property
    def whole(self) -> "Operator":
        """The operator of which this is a product; itself if it is none of several."""
        if self.part in (Part.SCORES, Part.VALUES):
            return replace(self, part=Part.ATTENTION)
        return self if self.expert is None else self.of_expert(EVERY)

    @property
    def block(self) -> str:
        """Name of its block, which begins the names of what all operators of the block use."""
        if self.layer is None:
            raise ValueError(f"{self} is in no block")
        return block(self.layer)

    def of_expert(self, expert: int | Experts) -> "Operator":
        """Return the same layer of one expert, or of ``EVERY``."""
        return replace(self, expert=expert)

    def beside(self, part: Part) -> "Operator":
        """Return another part of the same block and of the same experts."""
        return replace(self, part=part)

    def routes(self, product: "Operator") -> bool:
        """Whether it is the gate that decides about the expert of a product."""
        return product.expert is not None and product.layer == self.layer

    def runs_for(self, task: int) -> bool:
        """Whether an inference of ``task`` runs it."""
        return self.task in (None, task)


def block(layer: int) -> str:
    """Return the name of a block."""
    return f"blocks.{layer}"


def feed_forward(config: ModelConfig, layer: int) -> tuple[Operator, Operator]:
    """Return the two layers of the second half of a block: dense ones, or those of the experts."""
    expert = EVERY if config.is_moe(layer) else None
    return Operator(Part.FC1, layer, expert), Operator(Part.FC2, layer, expert)


def operators(config: ModelConfig) -> tuple[Operator, ...]:
    """Return all operators of a network, of every task, in the order in which they run."""
    in_order = [Operator(Part.PATCH)]
    for layer in range(config.num_layers):
        in_order += [Operator(part, layer) for part in (*QKV, Part.ATTENTION, Part.PROJ)]
        if config.is_moe(layer):
            in_order += [Operator(Part.GATE, layer, task=task) for task in range(config.num_tasks)]
        in_order += feed_forward(config, layer)
    return (*in_order, *(Operator(Part.HEAD, task=task) for task in range(len(config.num_classes))))


def products(config: ModelConfig) -> tuple[Operator, ...]:
    """Return the matrix products of all operators, of every task and expert, in their order."""
    in_order: list[Operator] = []
    for operator in operators(config):
        if operator.part == Part.ATTENTION:
            in_order += [operator.beside(Part.SCORES), operator.beside(Part.VALUES)]
        elif operator.expert is EVERY:
            in_order += [operator.of_expert(expert) for expert in range(config.num_experts)]
        else:
            in_order.append(operator)
    return tuple(in_order)


def operator_named(name: str, config: ModelConfig) -> Operator:
    """Return the operator of ``config`` that is printed as ``name``.

    Raises
    ------
    ValueError
        There is none; the message lists those that there are.
    """
    by_name = {str(operator): operator for operator in operators(config)}
    if name not in by_name:
        raise ValueError(f"{config.name} has no operator {name!r}; it has {', '.join(by_name)}")
    return by_name[name]
