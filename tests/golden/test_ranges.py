"""Ranges of zero, of one constant, of subnormal and of huge numbers: defined, or refused."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from deltamoe.golden.config import MODELS
from deltamoe.golden.data.images import digits
from deltamoe.golden.integer import infer
from deltamoe.golden.model import M3ViT, Site, build
from deltamoe.golden.quantization.quantize import quantize, score_gain
from deltamoe.golden.quantization.quantized import (
    QuantizedModel,
    fixed_point,
    integer_linear,
    requantization,
)
from deltamoe.golden.quantization.quantized_format import check_format
from deltamoe.golden.quantization.report import block_noise, sqnr
from deltamoe.golden.quantization.scales import activation_table, floored, migration

WEIGHTS = Path(__file__).parents[2] / "golden" / "weights" / "digits.safetensors"
CONFIG = MODELS["digits"]
SUBNORMAL = 1e-42
IMAGE = digits("test")[0][3]
SEEN = torch.stack([IMAGE, digits("train")[0][0]])
"""Calibration images, the tested one among them, so that no range is exceeded."""


def changed(*parts: str, by: Callable[[Tensor], Tensor]) -> M3ViT:
    """The trained network with some tensors replaced."""
    weights = load_file(WEIGHTS)
    names = [name for name in weights if any(part in name for part in parts)]
    assert names
    return build(CONFIG, weights | {name: by(weights[name]) for name in names})


def made(model: M3ViT, images: Tensor | None = None) -> QuantizedModel:
    quantized = quantize(model, SEEN if images is None else images)
    check_format(quantized.tensors, CONFIG)
    return quantized


def scores(model: M3ViT, quantized: QuantizedModel, task: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        real = model.float()(IMAGE.float(), task)[1]
    return real, infer(quantized, IMAGE, task).scores


PARTS = {"heads": ("head",), "gates": ("gate",), "fc1": ("fc1", "htoh4"),
         "fc2": ("fc2", "h4toh"), "qkv": ("qkv",), "proj": ("attn.proj",), "norms": ("norm",),
         "patches": ("patch_embed",), "positions": ("pos_embed", "cls_token"), "all": ("",)}


@pytest.mark.parametrize("value", [0.0, 0.05, SUBNORMAL])
@pytest.mark.parametrize("parts", PARTS)
def test_constant_tensors_are_computed_as_in_floating_point(parts: str, value: float) -> None:
    model = changed(*PARTS[parts], by=lambda tensor: torch.full_like(tensor, value))
    quantized = made(model)
    for row in block_noise(model.float(), quantized, IMAGE):
        # Noise is that of the residual stream's 1/256 beside a signal of 1/8 to 1.
        assert row.own > 24 or (parts == "all" and value != 0.05)
    trace = infer(quantized, IMAGE)
    if parts == "all" and value == 0:
        assert not trace.x.any()
    if parts in {"heads", "all"} and value == 0:
        assert not trace.scores.any()
    if parts == "gates":
        assert all((chosen == torch.tensor([0, 1])).all() and (weights - 16384).abs().max() <= 1
                   for chosen, weights in trace.routes.values())


def test_a_gate_of_zeros_is_not_divided_by_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """What integer NaN becomes depends on the processor."""
    rounded = []
    monkeypatch.setattr("deltamoe.golden.quantization.quantize.gate_codes", lambda weight: (
        rounded.append(weight), weight.to(torch.int16))[1])
    made(changed("gate", by=torch.zeros_like))
    assert len(rounded) == 4
    assert not any(weight.any() for weight in rounded)


@pytest.mark.parametrize("factor", [1e-20, SUBNORMAL, 1e20])
def test_the_unit_of_a_heads_scores_does_not_matter(factor: float) -> None:
    """Of one head alone; the other keeps its own."""
    plain = made(changed("head.0", by=lambda tensor: tensor))
    model = changed("head.0", by=lambda tensor: tensor * factor)
    quantized = made(model)
    before, after = (infer(each, IMAGE).scores for each in (plain, quantized))
    # A subnormal float has few bits itself.
    assert sqnr(after, before) > (25 if factor == SUBNORMAL else 35)
    assert after.argmax() == before.argmax()
    real, codes = scores(model, quantized, 1)
    assert real.argmax() == codes.argmax()


def test_a_gain_serves_all_heads_but_faint_ones() -> None:
    ranges = {Site("scores", task=task): torch.tensor(value)
              for task, value in enumerate((4.0, 1.0, 2.0**-20, 0.0))}
    assert [score_gain(ranges, task) for task in range(4)] == [4096, 4096, 2.0**34, 16384]
    assert score_gain({Site("scores", task=0): torch.tensor(0.0)}, 0) == 16384


PAIRS = {"norm1": (("norm1",), ("qkv.weight",)),
         "norm2": (("norm2",), ("fc1.weight", "htoh4.weight", "gate"))}


@pytest.mark.parametrize("factor", [1e-20, 1e20])
@pytest.mark.parametrize("pair", ["norm1", "norm2"])
def test_what_a_norm_loses_and_the_next_layer_gains_changes_nothing(pair: str, factor: float
                                                                   ) -> None:
    down, up = PAIRS[pair]
    weights = load_file(WEIGHTS)
    for name, tensor in weights.items():
        if any(part in name for part in down):
            weights[name] = tensor * factor
        if any(part in name for part in up):
            weights[name] = tensor / factor
    model = build(CONFIG, weights)
    rows = block_noise(model.float(), made(model), IMAGE)
    assert min(row.own for row in rows) > 30


@pytest.mark.parametrize("factor", [0.0, 1e-20, 1e-5])
def test_a_faint_head_of_attention_beside_others(factor: float) -> None:
    """Its scores are 0, though all heads share the requantization's shift."""
    def faint(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[: CONFIG.head_dim] *= factor
        return tensor

    model = changed("qkv", by=faint)
    rows = block_noise(model.float(), made(model), IMAGE)
    assert min(row.own for row in rows) > 33


@pytest.mark.parametrize(("parts", "words"), [
    (("gate",), r"blocks\.1\.gate\.0: requantization multiplier \S+ is not below 4"),
    (("qkv",), r"blocks\.0\.attention: requantization multiplier \S+ is not below 4"),
    (("fc2",), r"blocks\.0\.fc2: requantization multiplier \S+ is not below 4"),
    (("patch_embed",), r"patch: requantization multiplier \S+ is not below 4"),
    (("pos_embed",), r"pos_embed: \S+ is beyond the residual stream's 128"),
    (("norm1.bias",), r"blocks\.0\.\S+: ")])
def test_huge_numbers_are_refused_by_name(parts: tuple[str, ...], words: str) -> None:
    model = changed(*parts, by=lambda tensor: torch.full_like(tensor, 1e30) * (
        torch.arange(tensor.numel()).view(tensor.shape) % 7 - 2.5))
    with pytest.raises(ValueError, match=rf"^{words}") as error:
        made(model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("part", "value", "words"), [
    ("patch_embed.proj.bias", 200.0, r"in: 20\d\S* is beyond the residual stream's 128"),
    ("blocks.0.attn.proj.bias", 200.0, r"0\.middle: \S+ is beyond the residual stream's 128"),
    ("blocks.1.mlp.experts.h4toh.bias", 200.0, r"1\.out: \S+ is beyond the residual stream's 128"),
    ("blocks.1.mlp.gate.0.w_gate", 1e3, r"blocks\.1\.gate: scores of \S+ octaves are beyond 128")])
def test_what_would_saturate_is_refused_by_name(part: str, value: float, words: str) -> None:
    """A bias of 90 fits, and a gate times 4."""
    by = (lambda tensor, size: tensor * size) if "gate" in part else torch.full_like
    with pytest.raises(ValueError, match=rf"^{words}"):
        made(changed(part, by=lambda tensor: by(tensor, value)))
    made(changed(part, by=lambda tensor: by(tensor, 4.0 if "gate" in part else 90.0)))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_refused_by_name(value: float) -> None:
    model = changed("head.1.bias", by=lambda tensor: torch.full_like(tensor, value))
    with pytest.raises(ValueError, match=r"^head\.1\.bias: contains NaN or infinity"):
        made(model)
    for step in (value, 0.0, -1.0):
        with pytest.raises(ValueError, match=r"^0\.norm1: a step is not positive and finite"):
            quantize(changed("head", by=lambda tensor: tensor), digits("train")[0][:1],
                     {"0.norm1": torch.tensor([step])})


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_calibration_images(value: int) -> None:
    images = torch.full((2, 1, 8, 8), value, dtype=torch.uint8)
    model = changed("head", by=lambda tensor: tensor)
    quantized = made(model, images)
    with torch.no_grad():
        rows = block_noise(model.float(), quantized, images[0])
    assert min(row.own for row in rows) > 30


ROWS = torch.tensor([[0.0] * 64, [1e-30] * 64, [3e-5, -1e-5] * 32, [1.0, -0.5] * 32, [1.9] * 64])


def test_channels_of_any_size_share_a_shift() -> None:
    """The multiplier of a small one would round to one that is wrong by half."""
    weight, bias = ROWS.double(), torch.tensor([0.0, 0.0, 2e-5, 0.3, -1.0]).double()
    tensors = integer_linear(weight, bias, operand=128, gain=256.0, name="x")
    a = torch.randint(-128, 128, (100, 64), generator=torch.Generator().manual_seed(0))
    acc = a @ tensors["x.weight"].long().T + tensors["x.bias"]
    got = acc * tensors["x.multiplier"] / 2.0 ** int(tensors["x.shift"])
    real = 256 * (a.double() @ weight.T + bias)
    assert got[:, :2].abs().max() == 0
    assert (got - real)[:, 2].abs().max() < 0.5, "less than half a code"
    assert sqnr(got[:, 3], real[:, 3]) > 38
    assert sqnr(got[:, 4], real[:, 4]) > 38


def test_a_scale_whose_multiplier_is_small_is_that_of_the_one_above() -> None:
    scale = torch.tensor([0.0, 1e-9, 1.5 / 2**14, 63.2 / 2**14, 1.0]).double()
    wide, multiplier, shift = requantization(scale, 1.0, "x")
    assert shift == 14
    assert multiplier.tolist() == [1, 1, 2, 64, 16384]
    assert wide.tolist() == [1 / 2**14, 1 / 2**14, 2 / 2**14, 64 / 2**14, 1]


@pytest.mark.parametrize("columns", [600, 4096])
def test_equal_weights_get_codes_that_the_accumulator_holds(columns: int) -> None:
    weight = torch.ones(2, columns).double()
    weight[1, 100:] = 0
    tensors = integer_linear(weight, torch.tensor([0.5, 0.0]).double(), operand=255, gain=1e-3,
                             name="x")
    codes = tensors["x.weight"].long()
    assert int((codes.abs().sum(-1) * 255 + tensors["x.bias"].abs()).max()) < 2**24
    assert codes[0].unique().tolist() == [(2**24 - 1) // (255 * columns)]
    assert codes[1].abs().max() == 127
    value = float(codes[0].sum() * 255 + tensors["x.bias"][0]) * float(
        tensors["x.multiplier"][0]) / 2 ** int(tensors["x.shift"])
    assert value == pytest.approx(1e-3 * (255 * columns + 0.5), rel=0.05)


@pytest.mark.parametrize("real", [math.inf, math.nan, 1e300])
def test_a_multiplier_that_is_none_is_refused_by_name(real: float) -> None:
    with pytest.raises(ValueError, match=r"^x: requantization multiplier"):
        fixed_point(torch.tensor([1.0, real], dtype=torch.float64), "x")


def test_floors() -> None:
    seen = torch.tensor([0.0, 4.0, 2.0])
    assert floored(seen, 1e-3).tolist() == pytest.approx([1e-3, 4, 2])
    assert floored(seen * 1e-30, 1e-3).tolist() == pytest.approx([4e-33, 4e-30, 2e-30])
    assert floored(seen * 0, 1e-3).tolist() == pytest.approx([1e-3] * 3)


@pytest.mark.parametrize("size", [0.0, 5e-324, 1e-30, 1.0, 1e30])
@pytest.mark.parametrize("weight", [0.0, 1e-30, 1.0, 1e30])
def test_migration_is_defined(size: float, weight: float) -> None:
    scale = migration(torch.full((5,), size).double(), torch.full((7, 5), weight).double())
    assert torch.isfinite(scale).all()
    assert (scale > 0).all()
    if size > 1e-300:
        assert (size / scale).tolist() == pytest.approx([127] * 5)


@pytest.mark.parametrize(("largest", "lowest"), [
    (0, 0), (0, 9.0), (1e-42, 0), (1e-42, 1e-42), (0, 1e-20), (1e-3, 2e-3), (0.1, 0.1),
    (0.2, 0.1), (3, 3), (1e30, 0)])
def test_a_gelu_table_of_any_range(largest: float, lowest: float) -> None:
    table, input_step, step, zero_point = activation_table(functional.gelu, largest, lowest)
    assert 0 < input_step < math.inf
    assert 0 < step < math.inf
    assert table[0] == zero_point
    seen = torch.linspace(-lowest, largest, 101).double()
    codes = (seen / input_step).round().clamp(-512, 511).long()
    out = (table[codes & 1023].double() - zero_point) * step
    error = (out - functional.gelu(seen)).abs().max()
    # Half a step of the input, whose slope is at most 1.13, and half of the output; of GELU's
    # dip to -0.17 nothing is lost.
    assert error <= 0.57 * input_step + 0.51 * step


def test_noise_beside_zeros_is_defined() -> None:
    zero, one = torch.zeros(3), torch.ones(3)
    assert sqnr(zero, zero) == math.inf
    assert sqnr(one, one) == math.inf
    assert sqnr(one, zero) == -math.inf
    assert sqnr(zero, one) == 0
    assert sqnr(1.1 * one.double(), one) == pytest.approx(20)
    assert sqnr(zero, 1e-150 * one.double()) == 0
