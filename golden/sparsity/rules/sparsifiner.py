"""The keys that a query attends to, by a low-rank prediction of the attention (Sparsifiner)."""

from typing import NamedTuple

import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record, for_heads
from deltamoe.golden.sparsity.rule import Rule, charged, largest
from deltamoe.golden.sparsity.rules.attention import probabilities
from deltamoe.golden.sparsity.rules.attention_blocks import pooled
from deltamoe.golden.sparsity.work import Work

THRESHOLD = 0.02
"""Share of the largest element of a basis below which elements are 0."""


class Predictor(NamedTuple):
    """Of a layer: directions of queries and keys (H, Dh, r), patterns of attention (H, n, T)."""

    directions: Tensor
    basis: Tensor


class TopPairs(Rule):
    """The keys of which a low-rank predictor expects most attention, as many for each query.

    Queries and keys are projected to ``rank`` dimensions, and keys also to one for every ``block``
    tokens. The ``top`` largest elements of the softmax of their scores weigh the rows of a basis,
    which is sparse; the sum is what is expected. The class token attends to all.

    In place of what training finds stand the leading singular directions of the first recorded
    frame, the means of blocks of its keys, and the basis that fits its attention best.
    """

    def __init__(self, record: Record, density: float, rank: int, block: int, top: int) -> None:
        super().__init__(record)
        self.density, self.rank, self.block, self.top = density, rank, block, top
        self.predictors: dict[int, Predictor] = {}

    def seen(self, layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the recorded queries and keys of a layer; those given if they do not fit."""
        first = self.record.frames[0]
        for product, queries in first.operands.items():
            keys = first.keys.get(product.owner)
            if product.part == Part.SCORES and product.layer == layer and keys is not None and (
                    queries.shape == q.shape):
                return queries.double(), for_heads(keys, len(queries)).double()
        return q, k

    def coefficients(self, layer: int, q: Tensor, k: Tensor, directions: Tensor) -> Tensor:
        """Return the weights (H, T, n) of the patterns, ``top`` of each query."""
        weight = probabilities(q @ directions, pooled(k, self.block) @ directions,
                               self.record.sharpness(layer))
        return weight * largest(weight, self.top)

    def fitted(self, layer: int, q: Tensor, k: Tensor) -> Predictor:
        """Fit the predictor to queries and keys, but for the class token's."""
        directions = torch.linalg.svd(torch.cat([q, k], -2), full_matrices=False)[2]
        directions = directions[:, : self.rank].mT
        weight = self.coefficients(layer, q, k, directions)[:, 1:]
        attention = probabilities(q, k, self.record.sharpness(layer))[:, 1:]
        basis = (torch.linalg.pinv(weight) @ attention).clamp(min=0)
        most = basis.amax((-2, -1), keepdim=True)
        return Predictor(directions, basis * (basis > THRESHOLD * most))

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Keep the best keys of each query."""
        q, k = q.double(), k.double()
        known = self.predictors.get(layer)
        if known is None or known.basis.shape[-1] != k.shape[1]:
            self.predictors[layer] = self.fitted(layer, *self.seen(layer, q, k))
        directions, basis = self.predictors[layer]
        expected = self.coefficients(layer, q, k, directions) @ basis
        mask = largest(expected, max(1, round(self.density * k.shape[1])))
        mask[:, 0] = True
        return mask

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the projections, their product, and the sum of the basis' nonzero elements."""
        if product.part != Part.SCORES:
            return work
        heads, tokens = work.rows // work.columns, work.columns
        rank, patterns = min(self.rank, work.depth), -(-tokens // self.block)
        filled = int((self.predictors[product.layer].basis != 0).sum())
        summed = tokens * min(self.top, patterns) * filled // patterns
        return charged(
            work, weights=heads * work.depth * rank + tokens * patterns + filled,
            macs=2 * work.rows * rank * (work.depth + patterns) + summed)
