"""Tensors by timm's names, and the layers and normalizations that they make."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from deltamoe.golden.importing.containers import Weights


@dataclass
class Parts:
    """Tensors by timm's names, each taken once; what is never taken is not understood."""

    source: str
    tensors: Weights

    def find(self, name: str) -> Tensor | None:
        """Take a tensor if it is there."""
        return self.tensors.pop(name, None)

    def take(self, name: str) -> Tensor:
        """Take a tensor.

        Raises
        ------
        ValueError
            It is missing.
        """
        if name not in self.tensors:
            raise ValueError(f"{self.source} lacks tensor {name}")
        return self.tensors.pop(name)

    def numbers(self, pattern: str) -> list[int]:
        """Return the numbers in the names of the tensors that are there yet."""
        matches = (re.match(pattern, name) for name in self.tensors)
        return sorted({int(match[1]) for match in matches if match})


def or_zeros(tensor: Tensor | None, size: int) -> Tensor:
    """Return a tensor, or zeros (size,) where it is not there."""
    return torch.zeros(size) if tensor is None else tensor


def linear(parts: Parts, name: str) -> tuple[Tensor, Tensor]:
    """Take weight and bias of a layer; a bias that is not there is zero."""
    weight = parts.take(f"{name}.weight")
    if weight.dim() != 2:
        raise ValueError(f"{parts.source}: tensor {name}.weight has shape {tuple(weight.shape)}, "
                         "not that of a matrix")
    return weight, or_zeros(parts.find(f"{name}.bias"), len(weight))


def norm(parts: Parts, name: str, dim: int, kind: str) -> Weights:
    """Take the gain of a normalization of ``kind``, and its shift; one not there is zero."""
    weight, bias = parts.take(f"{name}.weight"), parts.find(f"{name}.bias")
    if kind == "rms":
        if bias is not None:
            raise ValueError(f"{parts.source}: tensor {name}.bias has no place in a normalization "
                             "by the root mean square")
        return {f"{name}.weight": weight}
    return {f"{name}.weight": weight, f"{name}.bias": or_zeros(bias, dim)}
