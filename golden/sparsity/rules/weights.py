"""Weights that are zero once and for all."""

from dataclasses import replace
from math import ceil, log2

import torch
from torch import Tensor

from golden.quantized import QuantizedModel
from golden.sparsity.names import WITHIN_BLOCKS, part
from golden.sparsity.record import Record
from golden.sparsity.rule import Rule, charged
from golden.sparsity.work import Work


class Pruned(Rule):
    """Zeros in the linear layers of the blocks; embedding, gates and head stay dense.

    Indices are the cheaper of a bit a weight and a column number a kept weight.
    """

    prunes = True

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record)
        self.density = density
        self.pruned: dict[str, Tensor] = {}

    def keep(self, name: str, weight: Tensor) -> Tensor:
        """Return which weights (N, K) stay, bool."""
        raise NotImplementedError

    def weight(self, name: str, weight: Tensor) -> Tensor:
        """Return the weights (N, K) with zeros."""
        if part(name) not in WITHIN_BLOCKS:
            return weight
        if name not in self.pruned:
            self.pruned[name] = weight * self.keep(name, weight)
        return self.pruned[name]

    def network(self, model: QuantizedModel) -> QuantizedModel:
        """Prune; biases that hold the code of zero times the weights follow."""
        tensors = dict(model.tensors)
        for product, weight in self.record.weights.items():
            if part(product) not in WITHIN_BLOCKS:
                continue
            name, index = stored(product)
            pruned = self.weight(product, weight)
            lost = (weight.to(torch.int64) - pruned.to(torch.int64)).sum(-1)
            for kind, value in (("weight", pruned), ("bias", None)):
                key = f"{name}.{kind}"
                tensor = tensors[key].clone() if tensors[key] is model.tensors[key] else (
                    tensors[key])
                if value is None:
                    value = (tensor if index is None else tensor[index]) + (
                        self.record.zeros.get(product, 0) * lost).to(torch.int32)
                tensor[slice(None) if index is None else index] = value
                tensors[key] = tensor
        return replace(model, tensors=tensors)

    def charge(self, name: str, work: Work) -> Work:
        """Charge indices."""
        if part(name) not in WITHIN_BLOCKS:
            return work
        return charged(work, index=self.index_bytes(work))

    def index_bytes(self, work: Work) -> int:
        """Bytes of the positions of the weights that are read."""
        coordinates = work.weight_bytes * max(1, ceil(log2(work.depth)))
        return -(-min(work.depth * work.columns, coordinates) // 8)


def stored(product: str) -> tuple[str, int | None]:
    """Return the name under which a model stores a product's tensors, and the expert's index."""
    head, found, tail = product.partition(".experts.")
    if not found:
        return product, None
    index, last = tail.split(".")
    return f"{head}.experts.{last}", int(index)


def largest(score: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest along the last axis; of equal ones the first."""
    order = score.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return torch.zeros(score.shape, dtype=torch.bool).scatter(-1, order, True)


class Magnitude(Pruned):
    """The largest of each layer."""

    def keep(self, name: str, weight: Tensor) -> Tensor:
        """Keep by ``|w|``."""
        return largest(weight.double().abs().flatten(), round(
            self.density * weight.numel())).view(weight.shape)


class GroupsOf(Pruned):
    """The ``n`` largest of every ``m`` consecutive weights of a row; a short group keeps all n."""

    def __init__(self, record: Record, n: int, m: int) -> None:
        if n > m:
            raise ValueError(f"policy n-m: n={n} exceeds m={m}")
        super().__init__(record, n / m)
        self.n, self.m = n, m

    def keep(self, name: str, weight: Tensor) -> Tensor:
        """Keep by ``|w|`` within a group."""
        padded = torch.nn.functional.pad(weight.double().abs(), (0, -weight.shape[-1] % self.m),
                                         value=-1.0)
        mask = largest(padded.unflatten(-1, (-1, self.m)), self.n).flatten(-2)
        return mask[:, : weight.shape[-1]]

    def index_bytes(self, work: Work) -> int:
        """Bytes of ``ceil(log2 m)`` bits a weight."""
        return -(-work.weight_bytes * ceil(log2(self.m)) // 8)
