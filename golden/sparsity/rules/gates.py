"""Other gates: by sign, by expected activity, by pairs of keys."""

from math import isqrt

import torch
from torch import Tensor

from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Sent, charged, largest
from deltamoe.golden.sparsity.rules.routing import Routing
from deltamoe.golden.sparsity.work import Work


class BlockFfn(Routing):
    """Experts whose logit is positive, weighted by ``RMSNorm(ReLU(logits))``.

    Weights are read once for each chunk of tokens that needs them, so the union over a chunk
    decides: chunk-level sparsity. A chunk of 0 is the frame. The integer network's weights end
    below 1, where those of BlockFFN do not.
    """

    def __init__(self, record: Record, chunk: int) -> None:
        super().__init__(record)
        self.chunk = chunk
        self.member: dict[int, Tensor] = {}

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by sign."""
        a = logits.clamp(min=0)
        self.member[layer] = a != 0
        return a / a.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-9)

    def charge(self, product: Product, work: Work) -> Work:
        """Read an expert once for each chunk."""
        if product.expert is None:
            return work
        tokens = self.member[product.layer][:, product.expert]
        loads = sum(bool(chunk.any()) for chunk in tokens.split(self.chunk or len(tokens)))
        return charged(work, reload=loads)


class SparseExperts(Routing):
    """The experts expected to activate least, with ReLU inside: hidden units as normal variables.

    ``P(unit > 0) = Phi(mean / deviation)``, both over an expert's units and linear in the moments
    of its weights, so each expert costs two products of the depth. The chosen experts keep the
    weights of the network's own gate, where MoE-X weighs them by their sparsity.
    """

    def __init__(self, record: Record, k: int) -> None:
        super().__init__(record)
        self.k = k
        for number in {number for frame in record.frames for number in frame.logits}:
            if record.find(Part.FC1, number, 0) is None:
                raise ValueError("policy moe-x needs the first layers of experts, as "
                                 f"{Operator(Part.FC1, number, 0)}, and the record has none")

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose the experts with the lowest expected activity."""
        h = h.double()
        active = []
        for index in range(self.experts):
            product = self.record.find(Part.FC1, layer, index)
            weight, bias = self.record.real(product), self.record.bias(product)
            mean = h @ weight.mean(0) + bias.mean()
            spread = h.square() @ weight.var(0, unbiased=False) + bias.var(unbiased=False)
            active.append(mean / spread.sqrt().clamp(min=1e-9))
        return largest(-torch.stack(active, -1), self.k)

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send hidden units of experts that fire."""
        return Sent(x > 0) if product.expert is not None and product.part == Part.FC2 else Sent()

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the estimate, beside the gate whose weights are used."""
        if product.part != Part.GATE:
            return work
        return charged(work, macs=2 * work.rows * work.depth * self.experts,
                       weights=2 * work.depth * self.experts)


class ProductKeys(Routing):
    """Expert ``(i, j)`` scores ``row_i + column_j``; both lists are cut to ``k``, then their sums.

    The lists are the least-squares fit of the network's logits: means of the rows and columns of
    a square of experts. The gate has ``2 sqrt(E)`` keys of half the depth instead of ``E``; the
    experts stay whole, where Monet puts each together from two halves.
    """

    def __init__(self, record: Record, k: int) -> None:
        super().__init__(record)
        self.k, self.side = k, isqrt(self.experts)
        if self.side**2 != self.experts:
            raise ValueError(f"policy product-keys: {self.experts} experts are no square")

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose from the best rows and columns."""
        grid = logits.unflatten(-1, (self.side, self.side))
        row, column = grid.mean(-1), grid.mean(-2)
        near = largest(row, self.k)[:, :, None] & largest(column, self.k)[:, None]
        score = (row[:, :, None] + column[:, None]).masked_fill(~near, -torch.inf)
        return largest(score.flatten(1), self.k) & near.flatten(1)

    def charge(self, product: Product, work: Work) -> Work:
        """Shorten the gate: both planes of half the depth for twice the side."""
        if product.part != Part.GATE:
            return work
        return Work(rows=work.rows, depth=work.depth, columns=2 * self.side,
                    weight_bytes=2 * self.side * work.depth)
