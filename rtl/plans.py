"""Plans by name: one policy for a whole network, as far as the hardware's memories go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from golden.config import ModelConfig
from golden.policy import Choice, Plan, Policy
from rtl.config import HwConfig
from rtl.layout import image_stride

POLICIES = (*Policy, "auto")
"""Names that users may give; ``auto`` is chosen for a video."""


@dataclass(frozen=True)
class Unit:
    """Operators that keep something together, the words they need, and their multiplications."""

    choices: Mapping[str, Choice]
    state_words: int
    reference_words: int
    macs: int

    @property
    def worth(self) -> float:
        """Multiplications for each kept word; a reference has about a third of the bits."""
        return self.macs / (self.state_words + self.reference_words / 3)


def delta_units(config: ModelConfig, hw: HwConfig, theta: int) -> Iterator[Unit]:
    """Return the delta layers that the hardware executes; queries, keys and values share one."""
    tokens, dim, word = config.num_tokens, config.embed_dim, hw.word
    choice = Choice(Policy.DELTA, theta)

    def unit(names: list[str], rows: int, depth: int, stride: int, columns: int) -> Unit:
        return Unit(dict.fromkeys(names, choice), len(names) * rows * -(-columns // word),
                    rows * stride, len(names) * rows * depth * columns)

    yield unit(["patch"], tokens - 1, config.patch_dim, image_stride(config, hw), dim)
    for layer in range(config.num_layers):
        name = f"blocks.{layer}"
        yield unit([f"{name}.{part}" for part in "qkv"], tokens, dim, dim // word, dim)
        yield unit([f"{name}.proj"], tokens, dim, dim // word, dim)
        if not config.is_moe(layer):
            hidden = config.hidden_dim
            yield unit([f"{name}.fc1"], tokens, dim, dim // word, hidden)
            yield unit([f"{name}.fc2"], tokens, hidden, hidden // word, dim)


def gate_units(config: ModelConfig, hw: HwConfig, task: int, theta: int) -> Iterator[Unit]:
    """Return the second halves of blocks, each behind a token gate."""
    tokens, words = config.num_tokens, config.embed_dim // hw.word
    for layer in range(config.num_layers):
        moe, name = config.is_moe(layer), f"blocks.{layer}"
        first = [f"gate.{task}", "experts.fc1"] if moe else ["fc1"]
        slots, hidden = (config.top_k, config.expert_dim) if moe else (1, config.hidden_dim)
        yield Unit(
            {**{f"{name}.{part}": Choice(Policy.TOKEN_GATE, theta) for part in first},
             f"{name}.{'experts.fc2' if moe else 'fc2'}": Choice(Policy.TOKEN_GATE)},
            (slots * tokens + 1) * words, tokens * words,
            2 * slots * tokens * config.embed_dim * hidden)


def fill(units: Iterator[Unit], hw: HwConfig) -> dict[str, Choice]:
    """Return the choices of the units worth most, as many as the hardware has words for."""
    chosen: dict[str, Choice] = {}
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

    Operators that the policy does not reach, or that find no room, are dense.

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
    return Plan(Choice(Policy.DENSE), fill(units, hw))
