"""Names, types and shapes of a quantized network's tensors, and what they are; no torch."""

from typing import NamedTuple

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.numerics import TABLE
from deltamoe.golden.operators import QKV, Operator, Part, block, feed_forward


class Format(NamedTuple):
    """Type, shape and meaning of a tensor.

    Attributes
    ----------
    dtype : str
        Type of its elements.
    shape : tuple of int
        Of an operator of every expert, the experts come first.
    kind : str
        Last word of its name: ``weight``, ``bias``, ``multiplier``, ``shift`` and the like.
    operator : Operator, optional
        Whose it is; None for a normalization, an activation table and the positions.
    """

    dtype: str
    shape: tuple[int, ...]
    kind: str
    operator: Operator | None = None


Formats = dict[str, Format]


def _tensors(owner: Operator | str, **formats: tuple[str, tuple[int, ...]]) -> Formats:
    """Return formats by the names of tensors, which begin with that of their owner."""
    operator = owner if isinstance(owner, Operator) else None
    return {f"{owner}.{kind}": Format(dtype, shape, kind, operator)
            for kind, (dtype, shape) in formats.items()}


def _linear(operator: Operator, *shape: int) -> Formats:
    """Weights (..., N, K) with a bias and a multiplier for each of N channels."""
    return _tensors(operator, weight=("int8", shape), bias=("int32", shape[:-1]),
                    multiplier=("int32", shape[:-1]), shift=("int32", ()))


def _norm(name: str, dim: int) -> Formats:
    return _tensors(name, gain=("int16", (dim,)), bias=("int32", (dim,)), shift=("int32", ()),
                    epsilon=("int64", ()))


def _block(config: ModelConfig, layer: int) -> Formats:
    name, dim, experts = block(layer), config.embed_dim, config.num_experts
    tensors = _norm(f"{name}.norm1", dim) | _norm(f"{name}.norm2", dim)
    for part in (*QKV, Part.PROJ):
        tensors |= _linear(Operator(part, layer), dim, dim)
    tensors |= _tensors(Operator(Part.ATTENTION, layer), multiplier=("int32", (config.num_heads,)),
                        shift=("int32", ()), kappa22=("int64", ()), kappa26=("int64", ()))
    tensors |= _tensors(name, gelu=("uint8", (TABLE,)))
    fc1, fc2 = feed_forward(config, layer)
    if not config.is_moe(layer):
        return (tensors | _linear(fc1, config.hidden_dim, dim)
                | _linear(fc2, dim, config.hidden_dim))
    for task in range(config.num_tasks):
        tensors |= _tensors(
            Operator(Part.GATE, layer, task=task), weight=("int16", (experts, dim)),
            multiplier=("int32", ()), shift=("int32", ()), usage=("int32", (2, experts)))
    return (tensors | _linear(fc1, experts, config.expert_dim, dim)
            | _linear(fc2, experts, dim, config.expert_dim))


def tensor_formats(config: ModelConfig) -> Formats:
    """Format of every tensor of the quantized ``config``, by name."""
    tensors = _linear(Operator(Part.PATCH), config.embed_dim, config.patch_dim)
    tensors["position"] = Format("int16", (config.num_tokens, config.embed_dim), "position")
    for layer in range(config.num_layers):
        tensors |= _block(config, layer)
    if config.num_classes:
        tensors |= _norm("norm", config.embed_dim)
    for task, classes in enumerate(config.num_classes):
        tensors |= _linear(Operator(Part.HEAD, task=task), classes, config.embed_dim)
    return tensors
