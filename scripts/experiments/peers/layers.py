"""A network's matrix products, as other simulators take them."""

from typing import NamedTuple

from deltamoe.golden.config import ModelConfig
from deltamoe.sim.facts import Facts


class Gemm(NamedTuple):
    """(m, k) times (k, n)."""

    name: str
    m: int
    n: int
    k: int


def gemms(config: ModelConfig, routing: Facts) -> list[Gemm]:
    """Return every matrix product of one image, in order; experts by the tokens they get."""
    tokens, dim, head = config.num_tokens, config.embed_dim, config.head_dim
    products = [Gemm("embed", config.num_patches, dim, config.patch_dim)]
    for layer in range(config.num_layers):
        products += [Gemm(f"{layer}.{name}", tokens, dim, dim) for name in ("q", "k", "v")]
        for number in range(config.num_heads):
            products += [Gemm(f"{layer}.scores.{number}", tokens, tokens, head),
                         Gemm(f"{layer}.context.{number}", tokens, head, tokens)]
        products.append(Gemm(f"{layer}.proj", tokens, dim, dim))
        if not config.is_moe(layer):
            products += [Gemm(f"{layer}.fc1", tokens, config.hidden_dim, dim),
                         Gemm(f"{layer}.fc2", tokens, dim, config.hidden_dim)]
            continue
        products.append(Gemm(f"{layer}.gate", tokens, config.num_experts, dim))
        for expert, count in enumerate(routing.routed[layer].tolist()):
            if count:
                products += [Gemm(f"{layer}.{expert}.fc1", count, config.expert_dim, dim),
                             Gemm(f"{layer}.{expert}.fc2", count, dim, config.expert_dim)]
    return products
