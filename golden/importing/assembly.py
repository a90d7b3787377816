"""A network of tensors by timm's names: its dimensions, and its weights as ours.

What a network has around its blocks' plain form is folded: LayerScale into the projection before
it, a missing bias into zeros, positions of another size into new ones.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.importing.blocks import block_weights
from deltamoe.golden.importing.bounds import check_bounds
from deltamoe.golden.importing.containers import Weights
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.options import Options
from deltamoe.golden.importing.parts import Parts, linear, norm, or_zeros
from deltamoe.golden.importing.positions import positions
from deltamoe.golden.importing.tail import Node, Tail, head_of
from deltamoe.golden.model import expected_shapes

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
               "patch_embed.proj.bias": or_zeros(parts.find("patch_embed.proj.bias"), dim)}
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
        block, dimensions = block_weights(parts, layer, dim, normalization)
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
    position, image, prefix = positions(parts, options, trained, dim, patch, antialias, notes)
    epsilon = options.epsilon
    if epsilon is None:
        epsilon = EPSILON
        notes.append(f"nothing tells what normalizations add to a row's variance: {EPSILON:g} is "
                     "assumed (--epsilon says another)")
    chosen = options.activation or activation
    if chosen is None:
        raise ValueError(f"{source}: tensors do not tell the activation; say --activation")
    tail = Tail(source, parts.tensors, tokens=position.shape[1], dim=dim, prefix=prefix,
                heads=options.heads, epsilon=epsilon, activation=chosen)
    host, nodes = _on_host(tail, normalization, notes)
    classes = () if host else tuple(_heads(parts, weights, dim, normalization))
    if parts.tensors:
        key, tensor = next(iter(parts.tensors.items()))
        raise ValueError(f"{source}: tensor {key} of shape {tuple(tensor.shape)} has no place in "
                         "this network")
    weights |= {"cls_token": torch.zeros(1, prefix, dim), "pos_embed": position}
    if sized["hidden_dim"] == 1:
        raise ValueError(f"{source} lacks tensor blocks.0.mlp.fc1.weight")
    try:
        config = ModelConfig(
            name=name, image_channels=channels, image_height=image[0], image_width=image[1],
            patch_size=patch, embed_dim=dim, num_layers=len(layers), num_heads=options.heads,
            top_k=options.top_k if sized["num_experts"] else 0, num_classes=classes,
            norm=normalization, norm_epsilon=epsilon, activation=chosen,
            prefix_tokens=prefix, **sized)
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


def _heads(parts: Parts, weights: Weights, dim: int, kind: str) -> Iterator[int]:
    """Add the final normalization and the heads to ``weights``; yield the classes of each."""
    tasks = parts.numbers(r"head\.(\d+)\.")
    names = [f"head.{task}" for task in tasks] if tasks else (
        ["head"] if "head.weight" in parts.tensors else [])
    if names:
        weights |= norm(parts, "norm", dim, kind)
    for task, name in enumerate(names):
        weight, bias = linear(parts, name)
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
