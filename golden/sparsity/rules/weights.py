"""Weights that are zero once and for all."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, log2

import torch
from torch import Tensor

from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.sparsity.names import Product, prunable
from deltamoe.golden.sparsity.record import Record, place
from deltamoe.golden.sparsity.rule import Rule, charged, largest
from deltamoe.golden.sparsity.work import Work


class Rewritten(Rule):
    """Other weights in the linear layers of the blocks; embedding, gates and head stay."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.pruned: dict[Product, Tensor] = {}

    def make(self, product: Product, weight: Tensor) -> Tensor:
        """Return the new weights (N, K)."""
        raise NotImplementedError

    def weight(self, product: Product, weight: Tensor) -> Tensor:
        """Return the weights (N, K), made once."""
        if not prunable(product):
            return weight
        if product not in self.pruned:
            self.pruned[product] = self.make(product, weight)
        return self.pruned[product]

    def network(self, model: QuantizedModel) -> QuantizedModel:
        """Replace the weights; biases that hold the code of zero times the weights follow."""
        tensors = dict(model.tensors)
        for product, old in self.record.weights.items():
            if not prunable(product):
                continue
            name, index, weight = product.whole, place(product), self.weight(product, old)
            lost = (old.long() - weight.long()).sum(-1)
            moved = tensors[f"{name}.bias"][index] + self.record.zeros.get(product, 0) * lost
            for key, value in ((f"{name}.weight", weight), (f"{name}.bias", moved)):
                if tensors[key] is model.tensors[key]:
                    tensors[key] = tensors[key].clone()
                tensors[key][index] = value.to(tensors[key].dtype)
        return replace(model, tensors=tensors)

    def charge(self, product: Product, work: Work) -> Work:
        """Charge what the blocks' layers cost."""
        return self.cost(work) if prunable(product) else work

    def cost(self, work: Work) -> Work:
        """Add to a layer's work."""
        return work


class Pruned(Rewritten):
    """Zeros, whose positions are the cheaper of a bit a weight and a column number a kept one."""

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record)
        self.density = density
        self.masks: dict[Product, Tensor] = {}

    def keep(self, product: Product, weight: Tensor) -> Tensor:
        """Return which weights (N, K) stay, bool."""
        raise NotImplementedError

    def make(self, product: Product, weight: Tensor) -> Tensor:
        """Prune."""
        self.masks[product] = self.keep(product, weight)
        return weight * self.masks[product]

    def stored(self, product: Product) -> Tensor | None:
        """Return what stays."""
        return self.masks.get(product)

    def cost(self, work: Work) -> Work:
        """Charge the positions of the weights that are read."""
        numbers = work.weight_bytes * max(1, ceil(log2(work.depth)))
        return charged(work, index=-(-min(work.depth * work.columns, numbers) // 8))


class Magnitude(Pruned):
    """The largest of each layer, by ``|w|`` before quantization."""

    def keep(self, product: Product, weight: Tensor) -> Tensor:
        """Keep by ``|w|``."""
        size = self.record.magnitude(product).flatten()
        return largest(size, round(self.density * size.numel())).view(weight.shape)


class Essential(Pruned):
    """The largest of all layers together, by ``|w|`` before quantization.

    One-shot global L1 pruning: of all weights of the blocks' linear layers the share ``density``
    stays, so layers differ in density and may end without weights (arXiv 2306.03805).
    """

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record, density)
        products = [product for product in record.weights if prunable(product)]
        sizes = [record.magnitude(product) for product in products]
        every = torch.cat([size.flatten() for size in sizes])
        kept = largest(every, round(density * every.numel())).split(
            [size.numel() for size in sizes])
        self.nonzero = {product: mask.view(size.shape)
                        for product, mask, size in zip(products, kept, sizes, strict=True)}

    def keep(self, product: Product, weight: Tensor) -> Tensor:
        """Keep a layer's part of the largest."""
        return self.nonzero[product]


class RandomMask(Pruned):
    """A fixed random mask; with ERK, layers of more weights than rows and columns are sparser.

    ERK: density proportional to ``(N + K) / (N K)``, at most 1, the total being ``density``.
    """

    def __init__(self, record: Record, density: float, erk: int, seed: int) -> None:
        super().__init__(record, density)
        self.seed = seed
        shapes = {product: tuple(weight.shape) for product, weight in record.weights.items()
                  if prunable(product)}
        self.shares = erdos_renyi(shapes, density) if erk else dict.fromkeys(shapes, density)

    def keep(self, product: Product, weight: Tensor) -> Tensor:
        """Draw a layer's mask."""
        generator = torch.Generator().manual_seed(self.seed + sum(str(product).encode()))
        drawn = torch.rand(weight.numel(), generator=generator)
        return largest(drawn, round(self.shares[product] * weight.numel())).view(weight.shape)


def erdos_renyi(shapes: Mapping[Product, tuple[int, int]], density: float,
                ) -> dict[Product, float]:
    """Return the density of each layer (N, K) by the rule of Erdos-Renyi."""
    sizes = {layer: n * k for layer, (n, k) in shapes.items()}
    full: set[Product] = set()
    while len(full) < len(shapes):
        budget = density * sum(sizes.values()) - sum(sizes[layer] for layer in full)
        factor = budget / sum(sum(shapes[layer]) for layer in shapes if layer not in full)
        above = {layer for layer in shapes if layer not in full
                 and factor * sum(shapes[layer]) > sizes[layer]}
        if not above:
            return {layer: 1.0 if layer in full else factor * sum(shapes[layer]) / sizes[layer]
                    for layer in shapes}
        full |= above
    return dict.fromkeys(shapes, 1.0)


class GroupsOf(Pruned):
    """The ``n`` largest of every ``m`` consecutive weights of a row; a short group keeps all n.

    Size is ``|w|`` before quantization.
    """

    def __init__(self, record: Record, n: int, m: int) -> None:
        if n > m:
            raise ValueError(f"policy n-m: n={n} exceeds m={m}")
        super().__init__(record, n / m)
        self.n, self.m = n, m

    def keep(self, product: Product, weight: Tensor) -> Tensor:
        """Keep by ``|w|`` within a group."""
        padded = torch.nn.functional.pad(
            self.record.magnitude(product), (0, -weight.shape[-1] % self.m), value=-1.0)
        mask = largest(padded.unflatten(-1, (-1, self.m)), self.n).flatten(-2)
        return mask[:, : weight.shape[-1]]

    def cost(self, work: Work) -> Work:
        """Charge ``ceil(log2 m)`` bits a weight."""
        return charged(work, index=-(-work.weight_bytes * ceil(log2(self.m)) // 8))
