"""Which operators keep what from one frame to the next, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import EVERY, QKV, Operator, Part, block, feed_forward
from deltamoe.golden.temporal.policy import REMEMBERING, Choice, Plan, Policy
from deltamoe.rtl.compiler.layout import columns_of, image_stride
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.label import Subject


@dataclass
class Window:
    """Words of an on-chip memory that blocks pass through, round and round.

    ``segments`` remember, behind their words, the compute descriptors and transfers that must
    have finished before others may have these.
    """

    first: int
    depth: int
    name: str
    position: int = 0
    segments: list[tuple[int, int, int, int]] = field(default_factory=list)

    def take(self, size: int, owner: Subject) -> tuple[int, int, int]:
        """Return the first word, and how many compute descriptors and transfers to wait for.

        Raises
        ------
        ValueError
            It does not fit.
        """
        if size > self.depth:
            raise ValueError(f"{owner} keeps {size} {self.name} at a time, the hardware has "
                             f"{self.depth} left")
        start = self.position if self.position + size <= self.depth else 0
        self.position = start + size
        start += self.first
        overlapping = [s for s in self.segments if s[0] < start + size and start < s[1]]
        self.segments = [s for s in self.segments if s not in overlapping]
        return (start, max((s[2] for s in overlapping), default=0),
                max((s[3] for s in overlapping), default=0))

    def use(self, start: int, size: int, *, computes: int = 0, stores: int = 0) -> None:
        """Note who must have finished before this segment is free."""
        self.segments.append((start, start + size, computes, stores))


@dataclass
class Region:
    """Words of an on-chip memory, handed out once for each owner; the rest is a window."""

    depth: int
    name: str
    used: int = 0
    reserved: int = 0
    bases: dict[Subject, int] = field(default_factory=dict)

    def take(self, owner: Subject, size: int) -> int:
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

    def window(self) -> Window:
        """Return the words that nobody keeps, an even number of them."""
        return Window(self.reserved, max(0, self.depth - self.reserved) // 2 * 2, self.name)


@dataclass(frozen=True)
class Extent:
    """A linear layer's rows, words of a row of its operand and of its sums.

    ``whole`` tells that all rows of references are needed at a time.
    """

    rows: int
    stride: int
    words: int
    whole: bool

    @property
    def state_words(self) -> int:
        """Words of its sums."""
        return self.rows * self.words

    @property
    def reference_words(self) -> int:
        """Words of its operand."""
        return self.rows * self.stride


def extent(operator: Operator, config: ModelConfig, hw: HwConfig) -> Extent:
    """Return the extent of an operator that is not attention; of all experts together."""
    tokens, words = config.num_tokens, config.embed_dim // hw.word
    experts = operator.expert is not None
    rows = tokens * config.top_k if experts else tokens
    hidden = (config.expert_dim if experts else config.hidden_dim) // hw.word
    match operator.part:
        case Part.PATCH:
            return Extent(config.num_patches, image_stride(config, hw), words, False)
        case Part.HEAD:
            classes = config.num_classes[operator.task]
            return Extent(1, words, columns_of(classes, hw) // hw.word, True)
        case Part.GATE:
            return Extent(tokens, words, columns_of(2 * config.num_experts, hw) // hw.word, True)
        case Part.FC1:
            return Extent(rows, words, hidden, True)
        case Part.FC2:
            return Extent(rows, hidden, words, experts)
    return Extent(tokens, words, words, operator.part != Part.PROJ)


@dataclass(frozen=True)
class Normalized:
    """The operand that queries, keys and values of a block share."""

    layer: int

    def __str__(self) -> str:
        return f"{block(self.layer)}.norm1"


@dataclass(frozen=True)
class Group:
    """Layers whose sums and references are on chip together, or not at all.

    They are queries, keys and values with one operand, an expert's two layers, the half of a block
    behind a token gate, or any other layer. ``words`` is what they keep, ``largest`` the most that
    is loaded together; ``stays`` that they cannot be in memory.
    """

    operators: tuple[Operator, ...]
    words: tuple[int, int]
    largest: tuple[int, int]
    stays: bool


class Keeping:
    """The choice of every operator that the hardware executes.

    Other tasks' gates and heads are left out. A delta layer keeps its operand and its sums. A
    token gate stands before a whole block: of dense layers (``fc1`` and ``fc2``) or of experts
    (gate, ``experts.fc1`` and ``experts.fc2``). It keeps the block's operand and the sums of its
    last layer, a token's once for each of its experts, so that a token that did not change costs
    the drain of these. ``streamed`` are the layers whose operand and sums are in memory; which
    experts the tokens had stays on chip.

    Raises
    ------
    ValueError
        The plan asks for what the hardware does not execute, or not for this operator.
    """

    def __init__(self, config: ModelConfig, hw: HwConfig, task: int, plan: Plan) -> None:
        self.choices: Mapping[Operator, Choice] = {
            operator: choice for operator, choice in plan.resolve(config).items()
            if operator.runs_for(task)}
        self.config, self.hw = config, hw
        self.state = Region(hw.state_words, "state_words")
        self.references = Region(hw.reference_words, "reference_words")
        self.routes = Region(hw.remembered_tokens, "tokens' experts")
        for operator, choice in self.choices.items():
            if choice.policy in (Policy.DELTA, Policy.TOKEN_GATE) and not hw.temporal:
                raise ValueError(f"{operator}: {hw.name} executes dense and zero-skip, not "
                                 f"{choice.policy}: its state_words are 0")
            if choice.policy == Policy.TOKEN_GATE and self.gate(operator) != choice.policy:
                members = ", ".join(map(str, self.members(operator)))
                raise ValueError(f"{operator}: hardware executes token-gate for a whole block: "
                                 f"{members or 'not here'}")
        for layer in range(config.num_layers):
            if config.is_moe(layer) and self.remembers(layer):
                self.routes.take(block(layer), config.num_tokens)
        self.streamed = self.divide()

    def members(self, operator: Operator) -> list[Operator]:
        """Operators of the block behind a token gate that ``operator`` belongs to."""
        second = (Part.GATE, Part.FC1, Part.FC2)
        return [other for other in self.choices if other.layer == operator.layer
                and other.part in second] if operator.part in second else []

    def gate(self, operator: Operator) -> Policy | None:
        """Return token-gate if all of its block has it, the first parts with the same theta."""
        members = self.members(operator)
        gated = members and all(self.choices[member].policy == Policy.TOKEN_GATE
                                for member in members)
        first, last = ({self.choices[member].theta for member in members
                        if (member.part == Part.FC2) == ends} for ends in (False, True))
        return Policy.TOKEN_GATE if gated and len(first) == 1 and last == {0} else None

    def remembers(self, layer: int) -> bool:
        """Tell whether a block keeps something of its experts' operands."""
        return any(self.choices[operator].policy == Policy.DELTA
                   for operator in feed_forward(self.config, layer))

    def operand(self, operator: Operator) -> Operator | Normalized:
        """Return what names an operator's operand, which equal queries, keys and values share."""
        layer = operator.layer
        one = operator.part in QKV and len(
            {self.choices[Operator(part, layer)] for part in QKV}) == 1
        return Normalized(layer) if one else operator

    def groups(self) -> list[Group]:
        """Return what is kept, in order."""
        groups: dict[Subject, list[Operator]] = {}
        for operator, choice in self.choices.items():
            owner = self.operand(operator)
            if choice.policy == Policy.TOKEN_GATE:
                owner = self.members(operator)[0]
            elif operator.expert is EVERY:
                owner = operator.beside(Part.FC1)
            if choice.policy in REMEMBERING:
                groups.setdefault(owner, []).append(operator)
        return [self.group(members) for members in groups.values()]

    def group(self, operators: list[Operator]) -> Group:
        """Return what some layers keep together."""
        extents = [extent(operator, self.config, self.hw) for operator in operators]
        first, last, gated = extents[0], extents[-1], bool(self.gate(operators[0]))
        sums, most = (sum_or_max(one.state_words for one in extents) for sum_or_max in (sum, max))
        references = first.reference_words
        if gated:
            sums = most = last.state_words
        elif operators[0].expert is EVERY:
            most, references = sums, sum(one.reference_words for one in extents)
        return Group(tuple(operators), (sums, references), (most, references),
                     stays=operators[0].part == Part.GATE and not gated)

    def divide(self) -> frozenset[Operator]:
        """Reserve words for what stays on chip, and return the layers of which nothing does.

        If not all fits, that stays, in order, which leaves the others room for two of the largest;
        what a gate that is a delta layer keeps always stays.
        """
        groups, depths = self.groups(), (self.state.depth, self.references.depth)
        fixed, streamed = [0, 0], set()
        every, largest = ([choose(sizes) for sizes in zip((0, 0), *kept, strict=True)]
                          for choose, kept in ((sum, [group.words for group in groups]),
                                               (max, [group.largest for group in groups])))
        fits = all(size <= depth for size, depth in zip(every, depths, strict=True))
        room = [depth - (0 if fits else 2 * most)
                for depth, most in zip(depths, largest, strict=True)]
        for group in groups:
            grown = [size + more for size, more in zip(fixed, group.words, strict=True)]
            if group.stays or all(size <= left for size, left in zip(grown, room, strict=True)):
                fixed = grown
            else:
                streamed |= set(group.operators)
        self.state.reserved, self.references.reserved = fixed
        return frozenset(streamed)
