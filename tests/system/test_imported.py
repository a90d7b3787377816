"""Networks unlike every preset: bits and counters of the Verilog are those of the integer model."""

from dataclasses import replace

import pytest

from deltamoe.api.networks import Network
from deltamoe.api.simulation import simulate
from deltamoe.api.verilog import run_verilog
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.data.images import digits
from deltamoe.golden.library import Network as Weights
from deltamoe.golden.library import find, untrained
from deltamoe.golden.quantization.quantize import quantize

BASE = ModelConfig(name="own", image_channels=3, image_height=12, image_width=16, patch_size=4,
                   embed_dim=32, num_layers=2, num_heads=2, hidden_dim=64, num_classes=(7,),
                   norm_epsilon=1e-12)
NETWORKS = {
    "no class token": replace(BASE, prefix_tokens=0, num_classes=(), activation="silu"),
    "a distillation token": replace(BASE, prefix_tokens=2, activation="gelu-tanh"),
    "registers": replace(BASE, prefix_tokens=5, num_classes=(), activation="quick-gelu"),
    "experts behind registers": replace(
        BASE, prefix_tokens=3, num_experts=4, top_k=2, expert_dim=32, activation="relu"),
}


@pytest.mark.verilator
@pytest.mark.parametrize("name", NETWORKS)
def test_bits_and_counters_are_predicted(name: str) -> None:
    config = NETWORKS[name]
    network = Network(config.name, config, untrained(config))
    run = run_verilog(network, "nano")
    assert run.mismatches == 0
    if not config.num_experts:
        assert dict(simulate(network, "nano").result.counters) == run.figures()["counters"]


@pytest.mark.verilator
def test_a_scale_of_its_own_is_only_other_numbers() -> None:
    real = find("digits").real
    quantized = quantize(real, digits("train")[0][:20], refined=True)
    assert quantized.residual_scale > 2048
    run = run_verilog(Network("own", quantized.config, Weights(quantized, real.float())), "nano")
    assert (run.mismatches, run.counters_differing) == (0, 0)
    assert run.sqnr_db > 25
