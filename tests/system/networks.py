"""Random small networks and hardware, drawn from a seed."""

from dataclasses import replace

import numpy as np
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.config import NORMS, ModelConfig
from deltamoe.golden.model import build
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded
from deltamoe.rtl.config import HwConfig
from tests.support.cases import TOGETHER

NANO = PRESETS["nano"]
HARDWARE = {
    "nano": NANO,
    "three": replace(NANO, name="three", groups=3, banks=2, attention_lag=1, burst_beats=5,
                     outstanding=1, weight_rows=512, block_queues=True),
    "wide": replace(NANO, name="wide", lanes=16, groups=6, packed=True, attention_lag=7,
                    burst_beats=32, outstanding=4, act_words=512, acc_width=28),
    "together": TOGETHER,
    "pairs": replace(NANO, name="pairs", groups=12, read_words=2, packed=True),
    "small": replace(NANO, name="small", weight_rows=64, kv_rows=128, program_depth=16,
                     max_depth=64, queue_words=16),
    "ports": replace(NANO, name="ports", memory_ports=2, burst_beats=8, outstanding=3),
    "four": replace(NANO, name="four", lanes=16, groups=6, memory_ports=4, burst_beats=4,
                    outstanding=5, act_words=512),
}
ROUTINGS = ("free", "one", "ties")


def draw_config(rng: np.random.Generator, hw: HwConfig, name: str) -> ModelConfig:
    """Draw dimensions that ``hw`` can hold."""
    word = hw.word
    heads = int(rng.integers(1, 4))
    head_dim = word * int(rng.integers(1, 1 + 32 // word // heads))
    patch = int(rng.choice([1, 2, 3]))
    width = int(rng.integers(2, 6))
    height = int(rng.integers(2, 1 + 31 // width))
    experts = int(rng.choice([0, 2, 3, 5, 8]))
    return ModelConfig(
        name=name, image_channels=int(rng.integers(1, 4)), image_height=patch * height,
        image_width=patch * width, patch_size=patch, embed_dim=heads * head_dim,
        num_layers=int(rng.integers(1, 4)), num_heads=heads,
        hidden_dim=word * int(rng.integers(1, 1 + 64 // word)), num_experts=experts,
        top_k=int(rng.integers(1, 1 + min(experts, 4))) if experts else 0,
        expert_dim=word * int(rng.integers(1, 1 + 32 // word)) if experts else 0,
        num_tasks=1 + int(rng.integers(2)),
        norm=str(rng.choice(NORMS)))


def make(seed: int, hw: HwConfig, routing: str) -> tuple[QuantizedModel, torch.Tensor, int]:
    """Return a quantized network, an image and a task."""
    rng = np.random.default_rng(seed)
    config = draw_config(rng, hw, f"random-{seed}")
    if seed % 3 == 0:
        config = replace(config, num_classes=tuple(
            int(rng.integers(2, 9)) for _ in range(config.num_tasks)))
    weights = seeded(config, seed)
    for name, gate in weights.items():
        if name.endswith("w_gate") and routing == "ties":
            gate[:] = gate[:, :1].repeat(1, gate.shape[1])
        if name.endswith("w_gate") and routing == "one":
            gate[:] = 0
            gate[0, -1] = 1.0
            weights["pos_embed"][..., 0] = 20.0    # element 0 of every row is positive, and no
            if config.num_classes:                 # head needs to see that
                weights["norm.weight"][0] = 0
    shape = (config.image_channels, config.image_height, config.image_width)
    images = torch.from_numpy(rng.integers(0, 256, (4, *shape)).astype(np.uint8))
    return quantize(build(config, weights), images[1:]), images[0], int(
        rng.integers(config.num_tasks))
