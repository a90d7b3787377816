"""Plans by name: one policy for a whole network, as far as the hardware's memories go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import EVERY, QKV, Operator, Part, feed_forward
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.kept_state import extent
from deltamoe.rtl.compiler.layout import even
from deltamoe.rtl.compiler.tiles import in_parts
from deltamoe.rtl.config import HwConfig

POLICIES = (*Policy, "auto")
"""Names that users may give; ``auto`` is chosen for a video."""


@dataclass(frozen=True)
class Unit:
    """Operators that keep something together, the words they need, and their multiplications.

    ``least`` is the words of sums and of references that must be on chip at a time, if the rest
    can be in memory.
    """

    choices: Mapping[Operator, Choice]
    state_words: int
    reference_words: int
    macs: int
    least: tuple[int, int] | None = None

    @property
    def worth(self) -> float:
        """Multiplications for each kept word; a reference has about a third of the bits."""
        return self.macs / (self.state_words + self.reference_words / 3)

    def beats(self) -> int:
        """Cycles in which its state comes from memory, if it comes beat by beat."""
        return 2 * self.state_words + self.reference_words

    def streams(self, hw: HwConfig) -> bool:
        """Tell whether it can keep its state in memory."""
        return self.least is not None and all(even(words) <= depth for words, depth in zip(
            self.least, (hw.state_words, hw.reference_words), strict=True))


def delta_units(config: ModelConfig, hw: HwConfig, theta: int) -> Iterator[Unit]:
    """Return the delta layers that the hardware executes; queries, keys and values share one.

    What is computed in tiles or in parts of its sums keeps nothing.
    Of the experts, in as many layers as their tokens are remembered, the second layer, and the
    first where both fit at a time.
    """
    dim, hidden, wide = config.embed_dim, config.hidden_dim, config.expert_dim
    choice, remembered = Choice(Policy.DELTA, theta), hw.remembered_tokens // config.num_tokens

    def unit(depth: int, columns: int, *operators: Operator) -> Unit:
        first = operators[0]
        one = extent(first, config, hw)
        words = one.words if first.part == Part.FC1 else 1
        least = (one.state_words // words, one.reference_words) if one.whole else (
            one.words, one.stride)
        if first.expert is EVERY:
            least = one.state_words, one.reference_words
        return Unit(dict.fromkeys(operators, choice), len(operators) * one.state_words,
                    one.reference_words, len(operators) * one.rows * depth * columns, least)

    if not in_parts(Operator(Part.PATCH), config, hw):
        yield unit(config.patch_dim, dim, Operator(Part.PATCH))
    for layer in range(config.num_layers):
        yield unit(dim, dim, *(Operator(part, layer) for part in QKV))
        yield unit(dim, dim, Operator(Part.PROJ, layer))
        fc1, fc2 = feed_forward(config, layer)
        if in_parts(fc1, config, hw) or in_parts(fc2, config, hw):
            continue
        if not config.is_moe(layer):
            yield unit(dim, hidden, fc1)
            yield unit(hidden, dim, fc2)
        elif layer // 2 < remembered:
            both = [extent(operator, config, hw) for operator in (fc1, fc2)]
            if (sum(one.state_words for one in both) <= hw.state_words
                    and sum(one.reference_words for one in both) <= hw.reference_words):
                yield unit(dim, wide, fc1)
            yield unit(wide, dim, fc2)


def gate_units(config: ModelConfig, hw: HwConfig, task: int, theta: int) -> Iterator[Unit]:
    """Return the second halves of blocks, each behind a token gate."""
    tokens, words = config.num_tokens, config.embed_dim // hw.word
    for layer in range(config.num_layers):
        moe, (fc1, fc2) = config.is_moe(layer), feed_forward(config, layer)
        if tokens > hw.queue_depth or in_parts(fc1, config, hw) or in_parts(fc2, config, hw):
            continue
        first = [Operator(Part.GATE, layer, task=task), fc1] if moe else [fc1]
        slots, hidden = (config.top_k, config.expert_dim) if moe else (1, config.hidden_dim)
        kept = slots * tokens * words, tokens * words
        yield Unit(
            {**dict.fromkeys(first, Choice(Policy.TOKEN_GATE, theta)),
             fc2: Choice(Policy.TOKEN_GATE)},
            *kept, 2 * slots * tokens * config.embed_dim * hidden, kept)


def fill(units: Iterator[Unit], hw: HwConfig) -> dict[Operator, Choice]:
    """Return the choices of the units worth most, as many as the hardware has words for."""
    chosen: dict[Operator, Choice] = {}
    state, references = hw.state_words, hw.reference_words
    for unit in sorted(units, key=lambda unit: -unit.worth):
        if unit.state_words <= state and unit.reference_words <= references and not (
                chosen.keys() & unit.choices.keys()):
            chosen |= unit.choices
            state -= unit.state_words
            references -= unit.reference_words
    return chosen


def named(policy: str, config: ModelConfig, hw: HwConfig, task: int = 0, theta: int = 0) -> Plan:
    """Return the plan of a policy by name.

    Operators that the policy does not reach, or that find no room, are dense. What is kept finds
    room in memory where there is none on chip.

    Raises
    ------
    ValueError
        No such policy; ``theta`` without a policy that compares; nothing can be kept.
    """
    if policy not in tuple(Policy):
        raise ValueError(f"policy {policy!r} is not one of {', '.join(POLICIES)}")
    if policy in (Policy.DENSE, Policy.ZERO_SKIP):
        return Plan(Choice(Policy(policy), theta))
    if not hw.temporal:
        raise ValueError(f"policy {policy!r}: {hw.name} keeps nothing from frame to frame; it "
                         f"executes {Policy.DENSE} and {Policy.ZERO_SKIP}")
    units = (delta_units(config, hw, theta) if policy == Policy.DELTA
             else gate_units(config, hw, task, theta))
    return Plan(Choice(Policy.DENSE), {operator: choice for unit in units if unit.streams(hw)
                                       for operator, choice in unit.choices.items()})
