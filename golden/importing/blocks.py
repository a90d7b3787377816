"""A block of tensors by timm's names: its weights as ours, and the dimensions of its own."""

import re

import torch
from torch import Tensor

from deltamoe.golden.importing.containers import Weights
from deltamoe.golden.importing.parts import Parts, linear, norm


def _qkv(parts: Parts, name: str) -> tuple[Tensor, Tensor]:
    """Take the three projections of an attention, joined or apart."""
    if f"{name}.qkv.weight" in parts.tensors:
        return linear(parts, f"{name}.qkv")
    weights, biases = zip(*(linear(parts, f"{name}.{part}") for part in "qkv"), strict=True)
    return torch.cat(weights), torch.cat(biases)


def _scaled(parts: Parts, name: str, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Fold a LayerScale, if there is one, into the layer or the experts' layer before it."""
    gamma = parts.find(name)
    if gamma is None:
        return weight, bias
    if gamma.shape != weight.shape[-2:-1]:
        raise ValueError(f"{parts.source}: tensor {name} has shape {tuple(gamma.shape)}, not "
                         f"{tuple(weight.shape[-2:-1])}")
    return ((weight.double() * gamma[:, None].double()).float(),
            (bias.double() * gamma.double()).float())


def block_weights(parts: Parts, layer: int, dim: int, kind: str
                  ) -> tuple[Weights, dict[str, int]]:
    """Return the weights of a block, and the dimensions that are its own.

    Parameters
    ----------
    parts : Parts
        What is left of the tensors; those of the block are taken out.
    layer, dim : int
        Number of the block, and width of a token.
    kind : str
        ``layer`` or ``rms``, as the network normalizes.

    Raises
    ------
    ValueError
        A tensor is missing or misshapen; names it.
    """
    name = f"blocks.{layer}"
    weights = norm(parts, f"{name}.norm1", dim, kind) | norm(parts, f"{name}.norm2", dim, kind)
    pairs = {"attn.qkv": _qkv(parts, f"{name}.attn"), "attn.proj": _scaled(
        parts, f"{name}.ls1.gamma", *linear(parts, f"{name}.attn.proj"))}
    tasks = parts.numbers(rf"{re.escape(name)}\.mlp\.gate\.(\d+)\.")
    sizes = {}
    if tasks:
        weights |= {f"{name}.mlp.gate.{task}.w_gate": parts.take(
            f"{name}.mlp.gate.{task}.w_gate") for task in tasks}
        first, second = ({kind: parts.take(f"{name}.mlp.experts.{part}.{kind}")
                          for kind in ("weight", "bias")} for part in ("htoh4", "h4toh"))
        if first["weight"].dim() != 3:
            raise ValueError(f"{parts.source}: tensor {name}.mlp.experts.htoh4.weight has shape "
                             f"{tuple(first['weight'].shape)}, not that of a matrix an expert")
        pairs["mlp.experts.htoh4"] = first["weight"], first["bias"]
        pairs["mlp.experts.h4toh"] = _scaled(parts, f"{name}.ls2.gamma", *second.values())
        sizes = {"num_experts": first["weight"].shape[0], "expert_dim": first["weight"].shape[1],
                 "num_tasks": len(tasks)}
    else:
        pairs["mlp.fc1"] = linear(parts, f"{name}.mlp.fc1")
        pairs["mlp.fc2"] = _scaled(parts, f"{name}.ls2.gamma",
                                   *linear(parts, f"{name}.mlp.fc2"))
        sizes = {"hidden_dim": len(pairs["mlp.fc1"][0])}
    for part, (weight, bias) in pairs.items():
        weights |= {f"{name}.{part}.weight": weight, f"{name}.{part}.bias": bias}
    return weights, sizes
