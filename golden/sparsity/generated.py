"""Records from statistics: density, likeness of tokens and of frames, uneven routing."""

from collections.abc import Mapping
from math import inf, sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.quantization.shapes import tensor_shapes
from deltamoe.golden.sparsity.names import ATTENTION, part
from deltamoe.golden.sparsity.record import Moment, Record
from deltamoe.golden.sparsity.rule import largest

CODES = 32.0
"""Deviation of operands before zeros, and of weights, in codes."""


class Source:
    """Random operands whose elements are copied from a common row, and from frame to frame.

    An element is nonzero with probability ``density``. With probability ``token`` it is that of
    the frame's common row, else its own; with probability ``time`` it is that of the frame before.
    """

    def __init__(self, density: float, token: float, time: float, seed: int) -> None:
        self.density, self.token, self.time = density, token, time
        self.generator = torch.Generator().manual_seed(seed)
        self.before: dict[str, Tensor] = {}

    def normal(self, *shape: int) -> Tensor:
        """Draw normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Draw True with a probability."""
        return torch.rand(shape, generator=self.generator) < probability

    def weight(self, columns: int, depth: int) -> Tensor:
        """Draw int8 weights (N, K)."""
        return (CODES * self.normal(columns, depth)).round().clamp(-127, 127).to(torch.int8)

    def codes(self, rows: int, depth: int, positive: bool) -> Tensor:
        """Draw codes (R, K) with zeros: the largest magnitudes, or the largest, are not zero."""
        share = self.density if positive else self.density / 2
        cut = torch.inf if share == 0 else -NormalDist().inv_cdf(share) if share < 1 else -torch.inf
        z = self.normal(rows, depth)
        size = z if positive else z.abs()
        code = (CODES * (size - max(cut, -4.0 if positive else 0.0))).floor().clamp(0, 126) + 1
        return torch.where(size > cut, code * (1 if positive else z.sign()), 0.0).to(torch.int64)

    def operand(self, name: str, rows: int, depth: int) -> Tensor:
        """Draw the operand (R, K) of the next frame, positive behind an activation."""
        positive = part(name) == "fc2"
        x = torch.where(self.chance(self.token, rows, depth),
                        self.codes(1, depth, positive), self.codes(rows, depth, positive))
        if name in self.before and len(self.before[name]) == rows:
            x = torch.where(self.chance(self.time, rows, depth), self.before[name], x)
        self.before[name] = x
        return x


def generated(shapes: ModelConfig | Mapping[str, tuple[int, int, int]], *, density: float = 0.5,
              token_correlation: float = 0.0, time_correlation: float = 0.0,
              routing_skew: float = 1.0, frames: int = 2, seed: int = 0) -> Record:
    """Draw a record.

    Parameters
    ----------
    shapes : ModelConfig or Mapping
        A network, or (R, K, N) by product; operands named ``fc2`` are not negative.
    density : float
        Share of the elements that are not zero.
    token_correlation, time_correlation : float
        Share of the elements that all tokens have in common, that are as in the frame before.
    routing_skew : float
        Deviation of the experts' mean logits over that of a token's own.
    frames, seed : int
        How many, and of what is drawn.

    Raises
    ------
    ValueError
        A share is not in 0..1, the skew is no number from 0 on, or there is no frame.
    """
    for name, share in (("density", density), ("token_correlation", token_correlation),
                        ("time_correlation", time_correlation)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share} is not in 0..1")
    if not 0 <= routing_skew < inf or frames < 1:
        raise ValueError(f"routing_skew={routing_skew}, frames={frames}: the skew is a "
                         "number from 0 on, the number of frames at least 1")
    source = Source(density, token_correlation, time_correlation, seed)
    if isinstance(shapes, ModelConfig):
        drawn = Network(shapes, source, routing_skew)
        return Record(tuple(drawn.frame() for _ in range(frames)), drawn.weights, config=shapes)
    weights = {name: source.weight(n, k) for name, (_, k, n) in shapes.items()}
    return Record(tuple(Moment({name: source.operand(name, rows, k)
                                for name, (rows, k, _) in shapes.items()})
                        for _ in range(frames)), weights)


class Network:
    """Frames of a vision transformer, in the order of :class:`deltamoe.golden.integer.infer`."""

    def __init__(self, config: ModelConfig, source: Source, skew: float) -> None:
        self.config, self.source = config, source
        self.weights = {}
        for name, (kind, shape) in tensor_shapes(config).items():
            product = name.removesuffix(".weight")
            if product != name and not (("gate." in name or name.startswith("head."))
                                        and not product.endswith(".0")):
                self.add(product, kind, shape)
        self.popular = {layer: skew * source.normal(config.num_experts)
                        for layer in range(config.num_layers) if config.is_moe(layer)}

    def add(self, product: str, kind: str, shape: tuple[int, ...]) -> None:
        """Draw the weights of a product, or of those of all experts."""
        if len(shape) == 3:
            for index in range(shape[0]):
                self.weights[product.replace("experts", f"experts.{index}")] = (
                    self.source.weight(*shape[1:]))
        else:
            planes = 2 if kind == "int16" else 1
            self.weights[product] = self.source.weight(planes * shape[0], shape[1])

    def frame(self) -> Moment:
        """Draw a frame of task 0."""
        config, draw = self.config, self.source.operand
        tokens, dim = config.num_tokens, config.embed_dim
        moment = Moment({"patch": draw("patch", tokens - 1, config.patch_dim)}, {}, {}, {})
        made = moment.operands
        for layer in range(config.num_layers):
            name = f"blocks.{layer}"
            first = draw(f"{name}.q", tokens, dim)
            made |= {f"{name}.{kind}": first for kind in "qkv"}
            self.attention(name, moment)
            made[f"{name}.proj"] = draw(f"{name}.proj", tokens, dim)
            second = draw(f"{name}.fc1", tokens, dim)
            if config.is_moe(layer):
                self.experts(name, layer, second, moment)
            else:
                made[f"{name}.fc1"] = second
                made[f"{name}.fc2"] = draw(f"{name}.fc2", tokens, config.hidden_dim)
        if config.num_classes:
            made["head.0"] = draw("head.0", 1, dim)
        return moment

    def attention(self, name: str, moment: Moment) -> None:
        """Draw queries and keys, and compute their attention."""
        heads, tokens, width = self.config.num_heads, self.config.num_tokens, self.config.head_dim
        q, k = (self.source.operand(f"{name}.{kind}", heads * tokens, width).view(
            heads, tokens, width) for kind in ("query", "key"))
        moment.keys[f"{name}.attention"] = k
        scores = (q.double() @ k.double().mT) / (CODES**2 * sqrt(width))
        e = (255 * (scores - scores.amax(-1, keepdim=True)).exp()).round().to(torch.int64)
        moment.operands.update(zip((f"{name}.attention.{kind}" for kind in ATTENTION), (q, e),
                                   strict=True))

    def experts(self, name: str, layer: int, x: Tensor, moment: Moment) -> None:
        """Draw a routing, and the hidden layers of the experts used."""
        config, source = self.config, self.source
        noise = source.normal(config.num_tokens, config.num_experts)
        logits = self.popular[layer] + noise
        if f"{name}.logits" in source.before:
            same = source.chance(source.time, config.num_tokens, 1)
            logits = torch.where(same, source.before[f"{name}.logits"], logits)
        source.before[f"{name}.logits"] = logits
        member = largest(logits, config.top_k)
        moment.operands[f"{name}.gate.0"] = x
        moment.logits[layer] = logits
        moment.routes[layer] = member.nonzero()[:, 1].view(-1, config.top_k)
        hidden = source.operand(f"{name}.experts.fc2", config.num_tokens * config.num_experts,
                                config.expert_dim)
        hidden = hidden.view(config.num_experts, config.num_tokens, -1)
        for index in member.any(0).nonzero().flatten().tolist():
            tokens = member[:, index]
            moment.operands[f"{name}.experts.{index}.fc1"] = x[tokens]
            moment.operands[f"{name}.experts.{index}.fc2"] = hidden[index][tokens]
