"""Which operators keep what from one frame to the next, and where."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from golden.config import ModelConfig
from golden.policy import Choice, Plan, Policy
from rtl.config import HwConfig
from rtl.layout import columns_of, image_stride


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

    def take(self, size: int, owner: str) -> tuple[int, int, int]:
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
    """Words of an on-chip memory, handed out once for each name; the rest is a window."""

    depth: int
    name: str
    used: int = 0
    reserved: int = 0
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


def extent(name: str, config: ModelConfig, hw: HwConfig) -> Extent:
    """Return the extent of an operator that is not attention; of all experts together."""
    tokens, words, part = config.num_tokens, config.embed_dim // hw.word, name.split(".")
    hidden = config.hidden_dim // hw.word
    if ".experts." in name:
        wide = config.expert_dim // hw.word
        return Extent(tokens * config.top_k, *((words, wide) if part[3] == "fc1" else (
            wide, words)), True)
    if part[0] == "patch":
        return Extent(tokens - 1, image_stride(config, hw), words, False)
    if part[0] == "head":
        return Extent(1, words, columns_of(config.num_classes[int(part[1])], hw) // hw.word, True)
    if part[2] == "gate":
        return Extent(tokens, words, columns_of(2 * config.num_experts, hw) // hw.word, True)
    if part[2] == "fc2":
        return Extent(tokens, hidden, words, False)
    return Extent(tokens, words, hidden if part[2] == "fc1" else words, part[2] != "proj")


class Keeping:
    """The choice of every operator that the hardware executes.

    Other tasks' gates and heads are left out. A delta layer keeps its operand and its sums. A
    token gate stands before a whole block: of dense layers (``fc1`` and ``fc2``) or of experts
    (gate, ``experts.fc1`` and ``experts.fc2``). It keeps the block's operand and the sums of its
    last layer, a token's once for each of its experts, so that a token that did not change costs
    the drain of these. ``streamed`` are the delta layers whose operand and sums are in memory;
    which experts the tokens had stays on chip.

    Raises
    ------
    ValueError
        The plan asks for what the hardware does not execute, or not for this operator.
    """

    def __init__(self, config: ModelConfig, hw: HwConfig, task: int, plan: Plan) -> None:
        self.choices: Mapping[str, Choice] = {
            name: choice for name, choice in plan.resolve(config).items()
            if not re.search(rf"(gate|head)\.(?!{task}$)", name)}
        self.config, self.hw = config, hw
        self.state = Region(hw.state_words, "state_words")
        self.references = Region(hw.reference_words, "reference_words")
        self.routes = Region(hw.remembered_tokens, "tokens' experts")
        for name, choice in self.choices.items():
            if choice.policy in (Policy.DELTA, Policy.TOKEN_GATE) and not hw.temporal:
                raise ValueError(f"{name}: {hw.name} executes dense and zero-skip, not "
                                 f"{choice.policy}: its state_words are 0")
            if choice.policy == Policy.TOKEN_GATE and self.gate(name) != choice.policy:
                raise ValueError(f"{name}: hardware executes token-gate for a whole block: "
                                 f"{', '.join(self.members(name)) or 'not here'}")
        for layer in range(config.num_layers):
            if config.is_moe(layer) and self.remembers(f"blocks.{layer}"):
                self.routes.take(f"blocks.{layer}", config.num_tokens)
        self.streamed = self.divide() if hw.temporal else frozenset()

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

    def remembers(self, layer: str) -> bool:
        """Tell whether a block keeps something of its experts' operands."""
        return any(self.choices[f"{layer}.experts.{part}"].policy == Policy.DELTA
                   for part in ("fc1", "fc2"))

    def operand(self, name: str) -> str:
        """Return the name of an operator's operand, which equal queries, keys and values share."""
        layer, _, part = name.rpartition(".")
        one = part in {"q", "k", "v"} and len({self.choices[f"{layer}.{n}"] for n in "qkv"}) == 1
        return f"{layer}.norm1" if one else name

    def divide(self) -> frozenset[str]:
        """Reserve words for what stays on chip, and return the delta layers that do not.

        Gates stay. If delta layers do not all fit beside them, those stay, in order, that leave
        the others room for two of the largest. An expert's two layers share their fate.
        """
        sizes: dict[str, list[int]] = {}
        groups: dict[str, list[str]] = {}
        for name, choice in self.choices.items():
            if choice.policy == Policy.TOKEN_GATE and name.endswith(".fc2"):
                slots = self.config.top_k if ".experts." in name else 1
                words = self.config.embed_dim // self.hw.word
                sizes[name] = [slots * self.config.num_tokens * words,
                               self.config.num_tokens * words]
            elif choice.policy == Policy.DELTA:
                group = self.operand(name)
                if ".experts." in name:
                    group = group.rpartition(".")[0]
                groups.setdefault(group, []).append(name)
        fixed = [sum(size) for size in zip([0, 0], *sizes.values(), strict=True)]
        needs, largest = {}, [0, 0]
        for operand, names in groups.items():
            extents = [extent(name, self.config, self.hw) for name in names]
            own = extents if operand.endswith(".experts") else extents[:1]
            needs[operand] = [sum(one.state_words for one in extents),
                              sum(one.reference_words for one in own)]
            most = needs[operand][0] if len(own) > 1 else max(one.state_words for one in extents)
            largest = [max(largest[0], most), max(largest[1], needs[operand][1])]
        room = [self.state.depth - fixed[0], self.references.depth - fixed[1]]
        every = [sum(size) for size in zip([0, 0], *needs.values(), strict=True)]
        if any(need > left for need, left in zip(every, room, strict=True)):
            room = [left - 2 * most for left, most in zip(room, largest, strict=True)]
        streamed = set()
        for operand, need in needs.items():
            stays = all(size <= left for size, left in zip(need, room, strict=True))
            if stays or ".gate." in operand:
                room = [left - size for size, left in zip(need, room, strict=True)]
                fixed = [size + more for size, more in zip(fixed, need, strict=True)]
            else:
                streamed |= set(groups[operand])
        self.state.reserved, self.references.reserved = fixed
        return frozenset(streamed)
