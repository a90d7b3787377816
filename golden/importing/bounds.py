"""How large a network of a file may be, before memory is taken for it."""

from deltamoe.golden.config import ModelConfig

MOST = {"embed_dim": 1 << 14, "hidden_dim": 1 << 16, "expert_dim": 1 << 16, "num_tokens": 1 << 16,
        "patch_dim": 1 << 16, "num_layers": 1 << 10, "num_experts": 1 << 12, "num_tasks": 1 << 10}
"""Largest dimensions that are looked at, which no hardware exceeds."""


def check_bounds(config: ModelConfig, source: object) -> None:
    """Raise ValueError if a network of this source has a dimension beyond :data:`MOST`."""
    for field, most in MOST.items():
        if getattr(config, field) > most:
            raise ValueError(f"{source}: {field}={getattr(config, field)} is beyond {most}")
