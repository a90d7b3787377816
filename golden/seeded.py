"""Random weights whose activations have the statistics of trained ones."""

import torch
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.model import expected_shapes

_GAIN = {"attn.qkv": 1.3, "attn.proj": 0.25, "fc1": 0.8, "fc2": 0.25, "htoh4": 0.8, "h4toh": 0.5,
         "w_gate": 1.0, "head": 1.0, "patch_embed": 6.0}
_GELU_INPUT_MEAN = -1.0  # trained networks leave about one GELU input in ten positive


def _weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator).double()
    if name in {"cls_token", "pos_embed"}:
        return 0.5 * noise
    if "norm" in name:
        return 0.6 * (0.25 * noise).exp() if name.endswith("weight") else 0.1 * noise
    if name.endswith("bias"):
        hidden = "fc1" in name or "htoh4" in name
        return 0.1 * noise + (_GELU_INPUT_MEAN if hidden else 0.0)
    gain = next(value for key, value in _GAIN.items() if key in name)
    depth = shape[0] if name.endswith("w_gate") else noise[0].numel()
    if "experts" in name:
        depth = shape[-1]
    return gain * noise * depth**-0.5


def seeded(config: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Weights for any ``config``, equal for equal ``seed``.

    Scales follow the published trained M3ViT-tiny: residual stream of standard deviation 1 to 3,
    attention logits of about 2, roughly 10 % positive GELU inputs, uneven expert use. What is
    drawn is scaled in float64 and rounded: every processor that has AVX2 makes the same.
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: _weight(name, shape, generator).float()
            for name, shape in expected_shapes(config).items()}
