"""Names, types and shapes of a quantized network's tensors, and the check of a file's."""

from collections.abc import Mapping

import torch
from torch import Tensor

from golden.config import ModelConfig
from golden.gate import planes

SHIFTS = (14, 18, 22, 26)

Format = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def _linear(name: str, *shape: int) -> Format:
    """Weights (..., N, K) with a bias and a multiplier for each of N channels."""
    return {
        f"{name}.weight": (torch.int8, shape), f"{name}.bias": (torch.int32, shape[:-1]),
        f"{name}.multiplier": (torch.int32, shape[:-1]), f"{name}.shift": (torch.int32, ()),
    }


def _norm(name: str, dim: int) -> Format:
    return {
        f"{name}.gain": (torch.int16, (dim,)), f"{name}.bias": (torch.int32, (dim,)),
        f"{name}.shift": (torch.int32, ()), f"{name}.epsilon": (torch.int64, ()),
    }


def _block(config: ModelConfig, layer: int) -> Format:
    name, dim = f"blocks.{layer}", config.embed_dim
    tensors = _norm(f"{name}.norm1", dim) | _norm(f"{name}.norm2", dim)
    for part in ("q", "k", "v", "proj"):
        tensors |= _linear(f"{name}.{part}", dim, dim)
    tensors |= {
        f"{name}.attention.multiplier": (torch.int32, (config.num_heads,)),
        f"{name}.attention.shift": (torch.int32, ()),
        f"{name}.attention.kappa22": (torch.int64, ()),
        f"{name}.attention.kappa26": (torch.int64, ()),
        f"{name}.gelu": (torch.uint8, (1024,)),
    }
    if not config.is_moe(layer):
        return (tensors | _linear(f"{name}.fc1", config.hidden_dim, dim)
                | _linear(f"{name}.fc2", dim, config.hidden_dim))
    for task in range(config.num_tasks):
        tensors |= {
            f"{name}.gate.{task}.weight": (torch.int16, (config.num_experts, dim)),
            f"{name}.gate.{task}.multiplier": (torch.int32, ()),
            f"{name}.gate.{task}.shift": (torch.int32, ()),
            f"{name}.gate.{task}.usage": (torch.int32, (2, config.num_experts)),
        }
    return (tensors | _linear(f"{name}.experts.fc1", config.num_experts, config.expert_dim, dim)
            | _linear(f"{name}.experts.fc2", config.num_experts, dim, config.expert_dim))


def expected_format(config: ModelConfig) -> Format:
    """Type and shape of every tensor of the quantized ``config``, by name."""
    tensors = _linear("patch", config.embed_dim, config.patch_dim)
    tensors["position"] = (torch.int16, (config.num_tokens, config.embed_dim))
    for layer in range(config.num_layers):
        tensors |= _block(config, layer)
    if config.num_classes:
        tensors |= _norm("norm", config.embed_dim)
    for task, classes in enumerate(config.num_classes):
        tensors |= _linear(f"head.{task}", classes, config.embed_dim)
    return tensors


def check_format(tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Check that ``tensors`` are those of ``config`` and that hardware can use them.

    Raises
    ------
    ValueError
        A tensor is missing or has another type or shape, a weight (or a plane of a gate's) is
        -128, a multiplier is not in 1..65535, or a shift is none that the hardware offers; the
        message names the tensor.
    """
    for name, (dtype, shape) in expected_format(config).items():
        if name not in tensors:
            raise ValueError(f"tensor {name} of type {dtype} and shape {shape} is missing")
        tensor = tensors[name]
        if (tensor.dtype, tuple(tensor.shape)) != (dtype, shape):
            raise ValueError(f"tensor {name} has type {tensor.dtype} and shape "
                             f"{tuple(tensor.shape)}, not {dtype} and {shape}")
        if name.endswith("multiplier") and not (tensor.min() >= 1 and tensor.max() <= 65535):
            raise ValueError(f"tensor {name} holds a multiplier outside 1..65535")
        if name.endswith("weight") and (planes(tensor) if dtype == torch.int16 else tensor
                                        ).min() < -127:
            raise ValueError(f"tensor {name} holds a weight below -127")
        allowed = range(16) if "norm" in name else SHIFTS
        if name.endswith("shift") and int(tensor) not in allowed:
            raise ValueError(f"tensor {name} is {int(tensor)}, not one of {tuple(allowed)}")
