"""Weights pruned by what they do, or replaced by something smaller."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import charged, largest
from deltamoe.golden.sparsity.rules.weights import Pruned, Rewritten
from deltamoe.golden.sparsity.work import Work

CYCLES = 50
"""Most swaps of a row."""


class Wanda(Pruned):
    """The largest ``|w| * |x|`` of each row, with the length of an input over recorded tokens."""

    def inputs(self, product: Product, depth: int) -> Tensor:
        """Return the recorded operands (R, K); a one of each if there are none."""
        if product in self.record.products:
            return self.record.values(product)
        return torch.eye(depth, dtype=torch.float64)

    def keep(self, product: Product, weight: Tensor) -> Tensor:
        """Keep as many of each row."""
        score = weight.double().abs() * self.inputs(product, weight.shape[-1]).norm(dim=0)
        return largest(score, round(self.density * weight.shape[-1]))


class DynamicSparse(Wanda):
    """Wanda, then weights of a row swapped while that lowers its mean error (DSnoT).

    The error is what pruned weights would have added on average. The pruned weight that lowers it
    most for its input's variance grows back; of those whose loss lowers it too, the one of least
    ``|w| * |x|`` goes. A row stops where a swap would not lower its error. Products of weight and
    input are those of the real network, the variance is of codes.
    """

    def keep(self, product: Product, weight: Tensor) -> Tensor:
        """Swap until nothing is gained."""
        mask = super().keep(product, weight)
        x, weight = self.inputs(product, weight.shape[-1]), weight.double()
        share = weight * x.mean(0)                                           # (N, K)
        merit = share / x.var(0, unbiased=False).clamp(min=1e-9)
        score, rows = weight.abs() * x.norm(dim=0), torch.arange(len(weight))
        for _ in range(CYCLES):
            error = (share * ~mask).sum(-1)                                  # (N,)
            sign = error.sign()[:, None]
            grown = (sign * merit).masked_fill(mask, -torch.inf).argmax(-1)
            helpful = mask & (sign * share < 0)
            pruned = score.masked_fill(~helpful, torch.inf).argmin(-1)
            after = error - share[rows, grown] + share[rows, pruned]
            swap = helpful.any(-1) & (~mask).any(-1) & (after.abs() < error.abs())
            if not swap.any():
                break
            mask[rows[swap], grown[swap]] = True
            mask[rows[swap], pruned[swap]] = False
        return mask


class LowRankSparse(Rewritten):
    """``W = U V + S``: a truncated singular value decomposition and the rows it misses most.

    Both parts are rounded together to the codes of ``W``. Rows of ``S`` are named by a bit each.
    MC-SMoE compresses experts that it has merged before and fine-tunes; here every layer of the
    blocks is compressed as it is.
    """

    def __init__(self, record: Record, rank: int, density: float) -> None:
        super().__init__(record)
        self.rank, self.density = rank, density

    def make(self, product: Product, weight: Tensor) -> Tensor:
        """Return the sum of both parts."""
        scale = self.record.scale(product)[:, None]
        real = weight.double() * scale
        u, s, v = torch.linalg.svd(real, full_matrices=False)
        low = (u[:, : self.rank] * s[: self.rank]) @ v[: self.rank]
        rest = real - low
        rows = largest(rest.norm(dim=1), round(self.density * len(weight)))
        codes = ((low + rest * rows[:, None]) / scale).clamp(weight.min(), weight.max())
        return (codes if weight.is_floating_point() else codes.round()).to(weight.dtype)

    def cost(self, work: Work) -> Work:
        """Replace the product by a sparse one and two of low rank."""
        density = round(self.density * work.columns) / work.columns
        pair = min(self.rank, work.depth, work.columns) * (work.depth + work.columns)
        return charged(replace(work, weight_density=density,
                               weight_bytes=round(density * work.weight_bytes)),
                       macs=work.rows * pair, weights=pair, index=-(-work.columns // 8))


class LowBit(Rewritten):
    """Weights of fewer bits: the nearest codes of a coarser grid of the same range.

    EAQuant also smooths, aligns the router's logits, balances calibration and quantizes
    activations; here multiplications stay at 8 bits.
    """

    def __init__(self, record: Record, bits: int) -> None:
        super().__init__(record)
        self.bits = bits

    def make(self, product: Product, weight: Tensor) -> Tensor:
        """Round to the grid; a real row has its largest magnitude as range."""
        real = weight.double()
        top = real.abs().amax(-1, keepdim=True).clamp(min=1e-12) if (
            weight.is_floating_point()) else 127.0
        step = top / (2 ** (self.bits - 1) - 1)
        rounded = torch.floor(real / step + 0.5) * step
        return (rounded if weight.is_floating_point() else rounded.round()).to(weight.dtype)

    def cost(self, work: Work) -> Work:
        """Pack the weights."""
        return replace(work, weight_bytes=ceil(work.weight_bytes * self.bits / 8))


class Widened(Pruned):
    """Hidden layers wider by a factor and as much sparser (Sparse-IFT).

    The multiplications stay, the positions of the weights are added. Only the work is known, since
    the wider network is another one, with other weights.
    """

    runs = False

    def __init__(self, record: Record, factor: int) -> None:
        super().__init__(record, 1 / factor)
        self.factor = factor

    def weight(self, product: Product, weight: Tensor) -> Tensor:
        """Leave the weights."""
        return weight

    def finish(self, works: Mapping[Product, Work]) -> Mapping[Product, Work]:
        """Widen the hidden layers."""
        return {product: self.wider(product, work) for product, work in works.items()}

    def wider(self, product: Product, work: Work) -> Work:
        """Widen one side of a layer."""
        if product.part not in {Part.FC1, Part.FC2}:
            return work
        side = "columns" if product.part == Part.FC1 else "depth"
        widened = replace(work, events=None, computed=None, weight_density=self.density,
                          **{side: self.factor * getattr(work, side)})
        return super().cost(widened)

    def cost(self, work: Work) -> Work:
        """Leave the layers as they are until they are widened."""
        return work
