"""Density: what an event costs, and which share of it all was sent."""

from dataclasses import replace

import pytest
import torch

from deltamoe.golden.config import MODELS, ModelConfig
from deltamoe.golden.integer import Trace
from deltamoe.golden.model import build
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.seeded import seeded
from deltamoe.golden.temporal.density import columns, density
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy

CONFIG = replace(MODELS["digits"], num_layers=2, image_width=6, hidden_dim=40, expert_dim=24)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, num_experts=5, top_k=3)])
def test_an_elements_multiplications_add_up_to_the_networks(config: ModelConfig) -> None:
    """The gate's second plane and the head are no part of ``ModelConfig.macs``."""
    pixels = torch.arange(48, dtype=torch.uint8).view(1, 8, 6)
    trace = Temporal(quantize(build(config, seeded(config, 0)), [pixels]),
                     Plan(Choice(Policy.DENSE))).run(pixels, 1)
    counted = {product: a.numel() * columns(product, config)
               for product, a in trace.operands.items()}
    assert counted.pop(Operator(Part.HEAD, task=1)) == 32 * 2
    gate = counted[Operator(Part.GATE, 1, task=1)]
    assert gate == 13 * 32 * 2 * config.num_experts
    assert sum(counted.values()) - gate // 2 == config.macs
    assert density(trace, config) == 1


def test_density_weighs_each_event_by_its_columns() -> None:
    fc1, fc2, expert = Operator(Part.FC1, 0), Operator(Part.FC2, 0), Operator(Part.FC1, 1, 3)
    sent = {fc1: torch.zeros(2, 32), fc2: torch.zeros(2, 40), expert: torch.ones(1, 32)}
    sent[fc1][0, :3] = 1
    sent[fc2][:, 5] = 1
    trace = Trace(torch.zeros(0), operands=sent, sent={n: m.bool() for n, m in sent.items()})
    dense = 2 * 32 * 40 + 2 * 40 * 32
    assert density(trace, CONFIG, [fc1, fc2]) == (3 * 40 + 2 * 32) / dense
    assert density(trace, CONFIG) == (3 * 40 + 2 * 32 + 32 * 24) / (dense + 32 * 24)
