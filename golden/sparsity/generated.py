"""Records from statistics: density, likeness of tokens and of frames, uneven routing."""

from collections.abc import Hashable, Mapping
from math import inf, sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.numerics import LARGEST_CODE, WEIGHT
from deltamoe.golden.operators import EVERY, QKV, Operator, Part, feed_forward, operators
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.golden.sparsity.names import recognize
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
        self.before: dict[Hashable, Tensor] = {}

    def normal(self, *shape: int) -> Tensor:
        """Draw normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Draw True with a probability."""
        return torch.rand(shape, generator=self.generator) < probability

    def weight(self, columns: int, depth: int) -> Tensor:
        """Draw int8 weights (N, K)."""
        codes = (CODES * self.normal(columns, depth)).round()
        return codes.clamp(WEIGHT.lowest, WEIGHT.highest).to(torch.int8)

    def codes(self, rows: int, depth: int, positive: bool) -> Tensor:
        """Draw codes (R, K) with zeros: the largest magnitudes, or the largest, are not zero."""
        share = self.density if positive else self.density / 2
        cut = torch.inf if share == 0 else -NormalDist().inv_cdf(share) if share < 1 else -torch.inf
        z = self.normal(rows, depth)
        size = z if positive else z.abs()
        code = (CODES * (size - max(cut, -4.0 if positive else 0.0))).floor().clamp(0, 126) + 1
        return torch.where(size > cut, code * (1 if positive else z.sign()), 0.0).to(torch.int64)

    def operand(self, of: Hashable, rows: int, depth: int, *, positive: bool = False) -> Tensor:
        """Draw the operand (R, K) of something in the next frame."""
        x = torch.where(self.chance(self.token, rows, depth),
                        self.codes(1, depth, positive), self.codes(rows, depth, positive))
        if of in self.before and len(self.before[of]) == rows:
            x = torch.where(self.chance(self.time, rows, depth), self.before[of], x)
        self.before[of] = x
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
    products = {recognize(name): shape for name, shape in shapes.items()}
    weights = {product: source.weight(n, k) for product, (_, k, n) in products.items()}
    return Record(tuple(Moment({
        product: source.operand(product, rows, k, positive=product.part == Part.FC2)
        for product, (rows, k, _) in products.items()}) for _ in range(frames)), weights)


class Network:
    """Frames of a vision transformer, in the order of :class:`deltamoe.golden.integer.infer`."""

    def __init__(self, config: ModelConfig, source: Source, skew: float) -> None:
        self.config, self.source = config, source
        self.weights = {}
        formats = tensor_formats(config)
        for operator in operators(config):
            if operator.part != Part.ATTENTION and operator.runs_for(0):
                self.add(operator, formats[f"{operator}.weight"].shape)
        self.popular = {layer: skew * source.normal(config.num_experts)
                        for layer in range(config.num_layers) if config.is_moe(layer)}

    def add(self, operator: Operator, shape: tuple[int, ...]) -> None:
        """Draw the weights of an operator, of every expert; a gate has two planes of them."""
        *experts, columns, depth = shape
        if operator.expert is EVERY:
            self.weights |= {operator.of_expert(index): self.source.weight(columns, depth)
                             for index in range(*experts)}
        else:
            planes = 2 if operator.part == Part.GATE else 1
            self.weights[operator] = self.source.weight(planes * columns, depth)

    def frame(self) -> Moment:
        """Draw a frame of task 0."""
        config, draw = self.config, self.source.operand
        tokens, dim, patch = config.num_tokens, config.embed_dim, Operator(Part.PATCH)
        moment = Moment({patch: draw(patch, config.num_patches, config.patch_dim)}, {}, {}, {})
        operands = moment.operands
        for layer in range(config.num_layers):
            queries, *_ = products = [Operator(part, layer) for part in QKV]
            operands |= dict.fromkeys(products, draw(queries, tokens, dim))
            self.attention(layer, moment)
            proj, (fc1, fc2) = Operator(Part.PROJ, layer), feed_forward(config, layer)
            operands[proj] = draw(proj, tokens, dim)
            second = draw(fc1, tokens, dim)
            if config.is_moe(layer):
                self.experts(layer, second, moment)
            else:
                operands[fc1] = second
                operands[fc2] = draw(fc2, tokens, config.hidden_dim, positive=True)
        if config.num_classes:
            head = Operator(Part.HEAD, task=0)
            operands[head] = draw(head, 1, dim)
        return moment

    def attention(self, layer: int, moment: Moment) -> None:
        """Draw queries and keys, and compute their attention."""
        heads, tokens, width = self.config.num_heads, self.config.num_tokens, self.config.head_dim
        scores, values = Operator(Part.SCORES, layer), Operator(Part.VALUES, layer)
        q, k = (self.source.operand((scores, kind), heads * tokens, width).view(
            heads, tokens, width) for kind in ("query", "key"))
        moment.keys[scores.owner] = k
        logits = (q.double() @ k.double().mT) / (CODES**2 * sqrt(width))
        e = (LARGEST_CODE * (logits - logits.amax(-1, keepdim=True)).exp()).round().to(torch.int64)
        moment.operands.update({scores: q, values: e})

    def experts(self, layer: int, x: Tensor, moment: Moment) -> None:
        """Draw a routing, and the hidden layers of the experts used."""
        config, source = self.config, self.source
        gate, (fc1, fc2) = Operator(Part.GATE, layer, task=0), feed_forward(config, layer)
        noise = source.normal(config.num_tokens, config.num_experts)
        logits = self.popular[layer] + noise
        if gate in source.before:
            same = source.chance(source.time, config.num_tokens, 1)
            logits = torch.where(same, source.before[gate], logits)
        source.before[gate] = logits
        member = largest(logits, config.top_k)
        moment.operands[gate] = x
        moment.logits[layer] = logits
        moment.routes[layer] = member.nonzero()[:, 1].view(-1, config.top_k)
        hidden = source.operand(fc2, config.num_tokens * config.num_experts, config.expert_dim,
                                positive=True)
        hidden = hidden.view(config.num_experts, config.num_tokens, -1)
        for index in member.any(0).nonzero().flatten().tolist():
            tokens = member[:, index]
            moment.operands[fc1.of_expert(index)] = x[tokens]
            moment.operands[fc2.of_expert(index)] = hidden[index][tokens]
