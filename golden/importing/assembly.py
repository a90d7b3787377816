"""A network of tensors by timm's names: its dimensions, and its weights as ours.

What a network has around its blocks' plain form is folded: LayerScale into the projection before
it, a missing bias into zeros, positions of another size into new ones.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.importing.bounds import MOST, check_bounds
from deltamoe.golden.importing.containers import Weights
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.options import Options
from deltamoe.golden.importing.tail import Node, Tail, head_of
from deltamoe.golden.model import expected_shapes

PREFIX_TOKENS = ("cls_token", "dist_token", "reg_token")
"""Tokens before the patches, in order."""

EPSILON = 1e-6
"""What is added to a row's variance if nothing tells: timm's value for vision transformers."""


class Assembled(NamedTuple):
    """A network without the normalization of its pixels.

    ``notes`` say what was folded or is left out; ``host`` is what follows the tokens and is no head
    of ours, ``nodes`` are operator, name and reason of each of its nodes, and ``share`` is the
    share of the multiplications on the accelerator.
    """

    config: ModelConfig
    weights: Weights
    notes: list[str]
    host: Host | None = None
    nodes: tuple[Node, ...] = ()
    share: float = 1.0


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


def assemble(tensors: Weights, options: Options, *, name: str, source: str, activation: str | None,
             antialias: bool, trained: tuple[int, int] | None = None) -> Assembled:
    """Make a network.

    Parameters
    ----------
    tensors : dict
        By timm's names.
    options : Options
        What the tensors do not tell.
    name, source : str
        Name of the network, and what errors call its file.
    activation : str, optional
        Of the MLPs, unless the options say another.
    antialias : bool
        How positions are made of another size.
    trained : tuple of int, optional
        Height and width of the images that the positions are of; else these are square.

    Raises
    ------
    ValueError
        A tensor is missing, misshapen, not finite or not understood; or an option is needed, which
        the message names.
    """
    parts, notes = Parts(source, dict(tensors)), []
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{source}: tensor {key} of shape {tuple(tensor.shape)} holds NaN or "
                             "infinity")
    projection = parts.take("patch_embed.proj.weight")
    if projection.dim() != 4 or projection.shape[2] != projection.shape[3] or (
            not projection.numel()):
        raise ValueError(f"{source}: tensor patch_embed.proj.weight of shape "
                         f"{tuple(projection.shape)} has no square patches")
    dim, channels, patch, _ = projection.shape
    weights = {"patch_embed.proj.weight": projection,
               "patch_embed.proj.bias": _or_zeros(parts.find("patch_embed.proj.bias"), dim)}
    layers = parts.numbers(r"blocks\.(\d+)\.")
    if layers != list(range(len(layers))):
        raise ValueError(f"{source}: its blocks are numbered {layers}, not from 0 on")
    if options.heads is None:
        raise ValueError(f"{source}: tensors do not tell the number of attention heads; say "
                         "--heads, which divides its width of "
                         f"{dim} (often {max(1, dim // 64)})")
    if type(options.heads) is not int or options.heads < 1 or dim % options.heads:
        raise ValueError(f"{source}: embed_dim={dim} is not a multiple of num_heads="
                         f"{options.heads!r}")
    normalization = options.norm or "layer"
    if options.norm is None and "blocks.0.norm1.bias" not in parts.tensors and layers:
        raise ValueError(f"{source} lacks tensor blocks.0.norm1.bias; say --norm rms if it "
                         "normalizes by the root mean square, or --norm layer")
    sized = {"hidden_dim": 1, "num_experts": 0, "expert_dim": 0, "num_tasks": 1}
    routed = []
    for layer in layers:
        block, dimensions = _block(parts, layer, dim, normalization)
        routed += [layer] if "num_experts" in dimensions else []
        weights |= block
        for key, value in dimensions.items():
            if sized.get(key) not in (value, 0, 1):
                raise ValueError(f"{source}: {key} is {value} in block {layer} and {sized[key]} "
                                 "before")
            sized[key] = value
    if routed and routed != layers[1::2]:
        raise ValueError(f"{source}: of its blocks {layers}, {routed} have experts; the "
                         f"accelerator has them in all odd ones, {layers[1::2]}")
    if any(".ls1." in key or ".ls2." in key for key in tensors):
        notes.append("LayerScale folded into the projections before it")
    if sized["num_experts"] and options.top_k is None:
        raise ValueError(f"{source}: tensors do not tell the experts of a token; say --top-k, at "
                         f"most {sized['num_experts']}")
    position, image, prefix = _position(parts, options, trained, dim, patch, antialias, notes)
    epsilon = options.epsilon
    if epsilon is None:
        epsilon = EPSILON
        notes.append(f"nothing tells what normalizations add to a row's variance: {EPSILON:g} is "
                     "assumed (--epsilon says another)")
    chosen = options.activation or activation
    if chosen is None:
        raise ValueError(f"{source}: tensors do not tell the activation; say --activation")
    tail = Tail(source, parts.tensors, tokens=position.shape[1], dim=dim, prefix=prefix.shape[1],
                heads=options.heads, epsilon=epsilon, activation=chosen)
    host, nodes = _on_host(tail, normalization, notes)
    classes = () if host else tuple(_heads(parts, weights, dim, normalization))
    if parts.tensors:
        key, tensor = next(iter(parts.tensors.items()))
        raise ValueError(f"{source}: tensor {key} of shape {tuple(tensor.shape)} has no place in "
                         "this network")
    weights |= {"cls_token": prefix, "pos_embed": position}
    if sized["hidden_dim"] == 1:
        raise ValueError(f"{source} lacks tensor blocks.0.mlp.fc1.weight")
    try:
        config = ModelConfig(
            name=name, image_channels=channels, image_height=image[0], image_width=image[1],
            patch_size=patch, embed_dim=dim, num_layers=len(layers), num_heads=options.heads,
            top_k=options.top_k if sized["num_experts"] else 0, num_classes=classes,
            norm=normalization, norm_epsilon=epsilon, activation=chosen,
            prefix_tokens=prefix.shape[1], **sized)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return Assembled(config, checked(weights, config, source), notes, host, nodes,
                     config.macs / (config.macs + tail.macs) if host else 1.0)


def checked(weights: Weights, config: ModelConfig, source: str) -> Weights:
    """Check names, shapes and values, and return the weights in the order of the network.

    Raises
    ------
    ValueError
        A tensor is missing, too many, misshapen or not finite; names it.
    """
    check_bounds(config, source)
    shapes = expected_shapes(config)
    for name in weights.keys() - shapes.keys():
        raise ValueError(f"{source}: tensor {name} of shape {tuple(weights[name].shape)} has no "
                         f"place in {config.name}")
    for name, shape in shapes.items():
        if name not in weights:
            raise ValueError(f"{source} lacks tensor {name} of shape {shape}")
        if tuple(weights[name].shape) != shape:
            raise ValueError(f"{source}: tensor {name} has shape {tuple(weights[name].shape)}, "
                             f"not {shape}")
        if not weights[name].isfinite().all():
            raise ValueError(f"{source}: tensor {name} of shape {shape} holds NaN or infinity")
    return {name: weights[name].float().contiguous() for name in shapes}


def _or_zeros(tensor: Tensor | None, size: int) -> Tensor:
    return torch.zeros(size) if tensor is None else tensor


def _linear(parts: Parts, name: str) -> tuple[Tensor, Tensor]:
    """Take weight and bias of a layer; a bias that is not there is zero."""
    weight = parts.take(f"{name}.weight")
    if weight.dim() != 2:
        raise ValueError(f"{parts.source}: tensor {name}.weight has shape {tuple(weight.shape)}, "
                         "not that of a matrix")
    return weight, _or_zeros(parts.find(f"{name}.bias"), len(weight))


def _qkv(parts: Parts, name: str) -> tuple[Tensor, Tensor]:
    """Take the three projections of an attention, joined or apart."""
    if f"{name}.qkv.weight" in parts.tensors:
        return _linear(parts, f"{name}.qkv")
    weights, biases = zip(*(_linear(parts, f"{name}.{part}") for part in "qkv"), strict=True)
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


def _norm(parts: Parts, name: str, dim: int, kind: str) -> Weights:
    weight, bias = parts.take(f"{name}.weight"), parts.find(f"{name}.bias")
    if kind == "rms":
        if bias is not None:
            raise ValueError(f"{parts.source}: tensor {name}.bias has no place in a normalization "
                             "by the root mean square")
        return {f"{name}.weight": weight}
    return {f"{name}.weight": weight, f"{name}.bias": _or_zeros(bias, dim)}


def _block(parts: Parts, layer: int, dim: int, kind: str) -> tuple[Weights, dict[str, int]]:
    """Return the weights of a block, and the dimensions that are its own."""
    name = f"blocks.{layer}"
    weights = _norm(parts, f"{name}.norm1", dim, kind) | _norm(parts, f"{name}.norm2", dim, kind)
    pairs = {"attn.qkv": _qkv(parts, f"{name}.attn"), "attn.proj": _scaled(
        parts, f"{name}.ls1.gamma", *_linear(parts, f"{name}.attn.proj"))}
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
        pairs["mlp.fc1"] = _linear(parts, f"{name}.mlp.fc1")
        pairs["mlp.fc2"] = _scaled(parts, f"{name}.ls2.gamma",
                                   *_linear(parts, f"{name}.mlp.fc2"))
        sizes = {"hidden_dim": len(pairs["mlp.fc1"][0])}
    for part, (weight, bias) in pairs.items():
        weights |= {f"{name}.{part}.weight": weight, f"{name}.{part}.bias": bias}
    return weights, sizes


def _position(parts: Parts, options: Options, trained: tuple[int, int] | None, dim: int,
              patch: int, antialias: bool, notes: list[str]
              ) -> tuple[Tensor, tuple[int, int], Tensor]:
    """Return positions of all tokens, height and width of an image, and the tokens before it."""
    before = [(name, token) for name in PREFIX_TOKENS
              if (token := parts.find(name)) is not None]
    for name, token in before:
        if token.numel() % dim:
            raise ValueError(f"{parts.source}: tensor {name} has shape {tuple(token.shape)}, not "
                             f"(1, 1, {dim})")
    prefix = torch.cat([token.reshape(1, -1, dim) for _, token in before]
                       or [torch.zeros(1, 0, dim)], 1)
    stored = parts.take("pos_embed")
    if stored.shape[-1:] != (dim,):
        raise ValueError(f"{parts.source}: tensor pos_embed has shape {tuple(stored.shape)}, not "
                         f"(1, tokens, {dim})")
    stored = stored.reshape(-1, dim)
    plain = sum(token.numel() // dim for name, token in before if name != "reg_token")
    counts = sorted({prefix.shape[1], plain, min(1, plain), 0}, reverse=True)
    image_size = trained or options.image
    exact = image_size[0] // patch * (image_size[1] // patch) if image_size else None
    known = next((count for count in counts if len(stored) - count == exact), None)
    if known is not None:
        grid = image_size[0] // patch, image_size[1] // patch
    else:
        known = next((count for count in counts
                      if math.isqrt(max(0, len(stored) - count)) ** 2 == len(stored) - count > 0),
                     None)
        if known is None:
            raise ValueError(f"{parts.source}: its {len(stored)} positions, {counts[0]} of tokens "
                             "before the patches, are of no square image; say --image HEIGHTxWIDTH")
        side = math.isqrt(len(stored) - known)
        grid = side, side
    image = options.image or (grid[0] * patch, grid[1] * patch)
    for side in image:
        if side % patch:
            raise ValueError(f"{parts.source}: an image of {image[0]}x{image[1]} is no multiple of "
                             f"its patches of {patch}")
    size = image[0] // patch, image[1] // patch
    if size[0] * size[1] > MOST["num_tokens"]:
        raise ValueError(f"{parts.source}: an image of {image[0]}x{image[1]} has more than "
                         f"{MOST['num_tokens']} patches of {patch}x{patch}")
    patches = stored[known:]
    if size != grid:
        notes.append(f"positions of {grid[0]}x{grid[1]} patches interpolated to "
                     f"{size[0]}x{size[1]}")
        plane = patches.T.reshape(1, dim, *grid).float()
        patches = functional.interpolate(plane, size=size, mode="bicubic", align_corners=False,
                                         antialias=antialias).reshape(dim, -1).T
    rows = torch.cat([stored[:known], torch.zeros(prefix.shape[1] - known, dim), patches])
    return rows[None], image, prefix


def _heads(parts: Parts, weights: Weights, dim: int, kind: str) -> Iterator[int]:
    """Add the final normalization and the heads to ``weights``; yield the classes of each."""
    tasks = parts.numbers(r"head\.(\d+)\.")
    names = [f"head.{task}" for task in tasks] if tasks else (
        ["head"] if "head.weight" in parts.tensors else [])
    if names:
        weights |= _norm(parts, "norm", dim, kind)
    for task, name in enumerate(names):
        weight, bias = _linear(parts, name)
        if weight.shape[1] != dim:
            raise ValueError(f"{parts.source}: tensor {name}.weight has shape "
                             f"{tuple(weight.shape)}, not (classes, {dim}): a head is a linear "
                             "layer on the class token, the average of the patches, or both")
        weights |= {f"head.{task}.weight": weight, f"head.{task}.bias": bias}
        yield len(weight)


def _on_host(tail: Tail, kind: str, notes: list[str]) -> tuple[Host | None, tuple[Node, ...]]:
    """Return what follows the tokens and is no head of ours, and its nodes."""
    head = head_of(tail.tensors, tail.dim, tail.prefix)
    pool = [name for name in tail.tensors if name.startswith("attn_pool.")]
    if pool and "head.weight" in tail.tensors and "attn_pool.probe" in pool:
        notes.append("attn_pool left out: a classifier of the average does not use it")
        for name in pool:
            del tail.tensors[name]
    if head is None and ("norm.weight" not in tail.tensors or any(
            name.startswith("head.") for name in tail.tensors)):
        return None, ()
    value = tail.norm("tokens", "norm", kind)
    if head is None:
        return tail.host({"last_hidden_state": value}), tail.listed(
            "without a head, the accelerator ends before the final normalization")
    use, compute = head
    return tail.host(compute(tail, value)), tail.listed(
        f"its head is of {use}; that of the accelerator is a linear layer on the class token")
