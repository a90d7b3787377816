"""Which blocks of query-key pairs a head computes, estimated from its last queries."""

import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Rule, charged, largest
from deltamoe.golden.sparsity.rules.attention import Windowed, probabilities
from deltamoe.golden.sparsity.work import Work


def pooled(x: Tensor, block: int) -> Tensor:
    """Return the means of blocks of tokens (H, B, Dh) of ``x`` (H, T, Dh); the last is short."""
    return torch.stack([part.double().mean(1) for part in x.split(block, 1)], 1)


def blown(mask: Tensor, block: int, tokens: int) -> Tensor:
    """Repeat a choice of blocks (..., B, B) over their pairs (..., T, T)."""
    wide = mask.repeat_interleave(block, -1)[..., :tokens]
    return wide.repeat_interleave(block, -2)[..., :tokens, :]


def covering(weight: Tensor, mass: float) -> Tensor:
    """Return the smallest set along the last axis that holds the share ``mass`` of the weight."""
    ordered, order = weight.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    needed = before < mass * weight.sum(-1, keepdim=True)
    needed[..., 0] = True
    return torch.zeros_like(needed).scatter(-1, order, needed)


def diagonals(weight: Tensor) -> Tensor:
    """Sum the weight (R, T) of the last R of T queries by distance to the key, (2 T - 1,)."""
    rows, tokens = weight.shape
    distance = torch.arange(tokens) - torch.arange(tokens - rows, tokens)[:, None] + tokens - 1
    return weight.new_zeros(2 * tokens - 1).index_add(0, distance.flatten(), weight.flatten())


def lines(vertical: Tensor, slash: Tensor) -> Tensor:
    """Return the pairs (T, T) in chosen keys (T,) or distances (2 T - 1,)."""
    tokens = len(vertical)
    place = torch.arange(tokens)
    return vertical | slash[place - place[:, None] + tokens - 1]


class VerticalSlash(Windowed):
    """The keys and the distances that the last ``window`` queries of a head attend to most.

    There is no causal mask, and the last queries of an image are its last patches.
    """

    def __init__(self, record: Record, vertical: float, slash: float, window: int) -> None:
        super().__init__(record)
        self.vertical, self.slash, self.window = vertical, slash, window

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Keep whole columns and diagonals; a query always keeps its own key."""
        tokens = k.shape[1]
        patterns = []
        for weight in probabilities(q[:, -self.window:], k, self.record.sharpness(layer)):
            vertical = largest(weight.sum(0), round(self.vertical * tokens))
            by_distance = diagonals(weight)
            by_distance[tokens - 1] = torch.inf
            slash = largest(by_distance, max(1, round(self.slash * len(by_distance))))
            patterns.append(lines(vertical, slash))
        return torch.stack(patterns)


class Blocks(Rule):
    """The blocks of keys whose mean fits best to the mean of a block of queries; not causal."""

    def __init__(self, record: Record, density: float, block: int) -> None:
        super().__init__(record)
        self.density, self.block = density, block

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Keep the best blocks of keys of each block of queries."""
        score = pooled(q, self.block) @ pooled(k, self.block).mT
        mask = largest(score, max(1, round(self.density * score.shape[-1])))
        return blown(mask, self.block, k.shape[1])

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the product of means."""
        if product.part != Part.SCORES:
            return work
        count, heads = -(-work.columns // self.block), work.rows // work.columns
        return charged(work, macs=heads * count * count * work.depth)


class FlexPrefill(Windowed):
    """Per head blocks or lines, as many as hold a share of the attention.

    The last block of queries decides: if the blocks' share of its attention, estimated from means
    of keys, is within ``tau`` of the true one (square root of the Jensen-Shannon divergence), the
    head keeps the fewest blocks of its whole map that hold the share ``gamma`` of it by estimate;
    else the keys, and the distances, that hold it for these queries. Every query keeps its own
    block, and at least ``least`` blocks' worth. There is no causal mask, and the last queries of
    an image are its last patches.
    """

    def __init__(self, record: Record, gamma: float, tau: float, block: int, least: int) -> None:
        super().__init__(record)
        self.gamma, self.tau, self.block, self.least = gamma, tau, block, least
        self.window = block

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Choose the pattern of each head."""
        tokens, patterns, sharp = k.shape[1], [], self.record.sharpness(layer)
        keys = pooled(k, self.block)                                         # (H, B, Dh)
        true = probabilities(q[:, -self.block:], k, sharp)                   # (H, R, T)
        means = probabilities(pooled(q, self.block), keys, sharp)            # (H, B, B)
        last = probabilities(q[:, -self.block:].double().mean(1, keepdim=True), keys,
                             sharp)[:, 0]                                    # (H, B)
        own = blown(torch.eye(means.shape[-1], dtype=torch.bool), self.block, tokens)
        for weight, by_block, guess in zip(true, means, last, strict=True):
            seen = torch.stack([part.sum() for part in weight.mean(0).split(self.block)])
            if root_divergence(guess, seen) < self.tau:
                whole = covering(by_block.flatten(), self.gamma).view(by_block.shape)
                chosen = whole | largest(by_block, self.least)
                patterns.append(blown(chosen, self.block, tokens) | own)
            else:
                few = self.least * self.block
                vertical = weight.sum(0)
                slash = diagonals(weight)
                patterns.append(own | lines(
                    covering(vertical, self.gamma) | largest(vertical, few),
                    covering(slash, self.gamma) | largest(slash, few)))
        return torch.stack(patterns)

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the last block's scores and the product of means."""
        if product.part != Part.SCORES:
            return work
        count, heads = -(-work.columns // self.block), work.rows // work.columns
        return charged(super().charge(product, work), macs=heads * count * (count + 1) * work.depth)


def root_divergence(p: Tensor, q: Tensor) -> float:
    """Return the square root of the Jensen-Shannon divergence of two distributions, in nats."""
    mean = ((p + q) / 2).clamp(min=1e-30)
    divergence = sum(torch.xlogy(each, each / mean).sum() for each in (p, q)) / 2
    return float(divergence.clamp(min=0).sqrt())
