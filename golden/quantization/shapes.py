"""Names, types and shapes of a quantized network's tensors."""

from deltamoe.golden.config import ModelConfig

Shapes = dict[str, tuple[str, tuple[int, ...]]]


def _linear(name: str, *shape: int) -> Shapes:
    """Weights (..., N, K) with a bias and a multiplier for each of N channels."""
    return {
        f"{name}.weight": ("int8", shape), f"{name}.bias": ("int32", shape[:-1]),
        f"{name}.multiplier": ("int32", shape[:-1]), f"{name}.shift": ("int32", ()),
    }


def _norm(name: str, dim: int) -> Shapes:
    return {
        f"{name}.gain": ("int16", (dim,)), f"{name}.bias": ("int32", (dim,)),
        f"{name}.shift": ("int32", ()), f"{name}.epsilon": ("int64", ()),
    }


def _block(config: ModelConfig, layer: int) -> Shapes:
    name, dim = f"blocks.{layer}", config.embed_dim
    tensors = _norm(f"{name}.norm1", dim) | _norm(f"{name}.norm2", dim)
    for part in ("q", "k", "v", "proj"):
        tensors |= _linear(f"{name}.{part}", dim, dim)
    tensors |= {
        f"{name}.attention.multiplier": ("int32", (config.num_heads,)),
        f"{name}.attention.shift": ("int32", ()),
        f"{name}.attention.kappa22": ("int64", ()), f"{name}.attention.kappa26": ("int64", ()),
        f"{name}.gelu": ("uint8", (1024,)),
    }
    if not config.is_moe(layer):
        return (tensors | _linear(f"{name}.fc1", config.hidden_dim, dim)
                | _linear(f"{name}.fc2", dim, config.hidden_dim))
    for task in range(config.num_tasks):
        tensors |= {
            f"{name}.gate.{task}.weight": ("int16", (config.num_experts, dim)),
            f"{name}.gate.{task}.multiplier": ("int32", ()),
            f"{name}.gate.{task}.shift": ("int32", ()),
            f"{name}.gate.{task}.usage": ("int32", (2, config.num_experts)),
        }
    return (tensors | _linear(f"{name}.experts.fc1", config.num_experts, config.expert_dim, dim)
            | _linear(f"{name}.experts.fc2", config.num_experts, dim, config.expert_dim))


def tensor_shapes(config: ModelConfig) -> Shapes:
    """Type and shape of every tensor of the quantized ``config``, by name."""
    tensors = _linear("patch", config.embed_dim, config.patch_dim)
    tensors["position"] = ("int16", (config.num_tokens, config.embed_dim))
    for layer in range(config.num_layers):
        tensors |= _block(config, layer)
    if config.num_classes:
        tensors |= _norm("norm", config.embed_dim)
    for task, classes in enumerate(config.num_classes):
        tensors |= _linear(f"head.{task}", classes, config.embed_dim)
    return tensors
