"""What the simulator must know of the data: routing, and which operands are zero."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import Part
from deltamoe.golden.temporal.policy import Plan, Policy
from deltamoe.rtl.label import Subject


@dataclass(frozen=True)
class Facts:
    """Data-dependent facts of one inference.

    ``routed`` is, for each layer with experts, the number of tokens of each expert. ``operands``
    is, by the subject of a descriptor, the left operand (rows, depth), needed unless every element
    is sent; ``sent``, for a delta layer, which of its elements differ from the reference, and
    ``known``, for an expert's, which of its rows have one. ``changed`` is, for each layer with a
    token gate, which tokens changed; then ``routed`` are only those (of "expert" 0 in a dense
    layer), and ``silent`` the others. ``later`` holds the facts of the inferences behind the first,
    if there are any.
    """

    routed: Mapping[int, np.ndarray]
    operands: Mapping[Subject, np.ndarray] = field(default_factory=dict)
    sent: Mapping[Subject, np.ndarray] = field(default_factory=dict)
    known: Mapping[Subject, np.ndarray] = field(default_factory=dict)
    changed: Mapping[int, list[bool]] = field(default_factory=dict)
    silent: Mapping[int, np.ndarray] = field(default_factory=dict)
    later: tuple["Facts", ...] = ()

    def frame(self, number: int) -> "Facts":
        """Return the facts of inference ``number``."""
        return self.later[number - 1] if number else self


def from_trace(trace, config: ModelConfig, plan: Plan | None = None) -> Facts:
    """Take the facts from a run of the integer network, of one frame or of one behind others.

    ``plan`` is the one that the run followed, if it kept anything from the frame before.
    """
    facts = Facts({layer: counts(experts, config)
                   for layer, (experts, _) in trace.routes.items()},
                  {product: np.asarray(value) for product, value in trace.operands.items()})
    if plan is None:
        return facts
    sent, known = ({product: np.asarray(mask) for product, mask in masks.items()}
                   for masks in (trace.sent, trace.known))
    changed, silent, routed = {}, {}, dict(facts.routed)
    for operator, choice in plan.resolve(config).items():
        begins = operator.part in (Part.FC1, Part.GATE) and operator.expert is None
        if choice.policy == Policy.TOKEN_GATE and begins and operator in trace.sent:
            layer, moved = operator.layer, np.asarray(trace.sent[operator]).any(-1)
            changed[layer] = moved.tolist()
            experts = trace.routes[layer][0] if layer in trace.routes else None
            for tokens_by_expert, tokens in ((routed, moved), (silent, ~moved)):
                tokens_by_expert[layer] = (np.array([tokens.sum()]) if experts is None
                                           else counts(np.asarray(experts)[tokens], config))
    return replace(facts, routed=routed, sent=sent, known=known, changed=changed, silent=silent)


def counts(experts, config: ModelConfig) -> np.ndarray:
    """Return how many tokens go to each expert."""
    return np.bincount(np.asarray(experts).reshape(-1), minlength=config.num_experts)


def from_traces(traces, config: ModelConfig, plan: Plan | None = None) -> Facts:
    """Take the facts from runs of one inference after another."""
    first, *later = (from_trace(trace, config, plan) for trace in traces)
    return replace(first, later=tuple(later))


def drawn(config: ModelConfig, seed: int, skew: float = 1.0, images: int = 1) -> list[Facts]:
    """Draw routings of some images: how popular an expert is they have in common.

    Popularity is the logarithm of a log-normal of deviation ``skew``.
    """
    rng = np.random.default_rng(seed)
    routed: list[dict[int, np.ndarray]] = [{} for _ in range(images)]
    for layer in range(config.num_layers):
        if not config.is_moe(layer):
            continue
        popularity = rng.normal(0, skew, config.num_experts)
        for image in routed:
            noise = rng.gumbel(size=(config.num_tokens, config.num_experts))
            chosen = np.argsort(-(popularity + noise), axis=1)[:, : config.top_k]
            image[layer] = np.bincount(chosen.reshape(-1), minlength=config.num_experts)
    return [Facts(image) for image in routed]


def generated(config: ModelConfig, seed: int, skew: float = 1.0) -> Facts:
    """Draw a routing: popularity of the experts follows a log-normal of deviation ``skew``."""
    return drawn(config, seed, skew)[0]
