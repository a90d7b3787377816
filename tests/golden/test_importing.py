"""Checkpoints of known families become the same network; broken ones say what is wrong."""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from deltamoe.golden.config import ACTIVATIONS, MODELS, ModelConfig
from deltamoe.golden.importing.assembly import EPSILON
from deltamoe.golden.importing.options import Options
from deltamoe.golden.importing.preprocessing import NAMED, Preprocessing, sized
from deltamoe.golden.importing.processors import processor
from deltamoe.golden.importing.source import FORMAT, FloatNetwork, load
from deltamoe.golden.model import activation, build
from deltamoe.golden.quantization.quantized import FORMAT as QUANTIZED
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.quantization.scales import activation_table
from deltamoe.golden.seeded import seeded

TRAINED = MODELS["digits"]
HEADLESS = replace(TRAINED, num_classes=())
PLAIN = ModelConfig(name="plain", image_channels=3, image_height=16, image_width=16, patch_size=4,
                    embed_dim=32, num_layers=2, num_heads=2, hidden_dim=64, num_classes=(5,))
RAW = Options(heads=2, top_k=2, preprocessing=NAMED["edge-moe"])
Weights = dict[str, Tensor]


def timm(weights: Weights) -> Weights:
    return {name.replace("head.0.", "head."): tensor for name, tensor in weights.items()}


def apart(weights: Weights, old: str, new: str, names: tuple[str, str, str]) -> Weights:
    """Queries, keys and values under names of their own, each after ``new``."""
    parts = {}
    for name, tensor in weights.items():
        if old in name:
            parts |= {name.replace(old, f"{new}{each}"): part.clone()
                      for each, part in zip(names, tensor.chunk(3), strict=True)}
        else:
            parts[name] = tensor
    return parts


def hugging_face(weights: Weights) -> Weights:
    pairs = (("blocks.", "vit.encoder.layer."), ("attn.proj.", "attention.output.dense."),
             ("norm1.", "layernorm_before."), ("norm2.", "layernorm_after."),
             ("mlp.fc1.", "intermediate.dense."), ("mlp.fc2.", "output.dense."),
             ("cls_token", "vit.embeddings.cls_token"),
             ("pos_embed", "vit.embeddings.position_embeddings"),
             ("patch_embed.proj.", "vit.embeddings.patch_embeddings.projection."),
             ("head.0.", "classifier."))
    named = {}
    for name, tensor in apart(weights, "attn.qkv", "attention.attention.",
                              ("query", "key", "value")).items():
        new = f"vit.layernorm.{name[5:]}" if name.startswith("norm.") else name
        for old, text in pairs:
            new = new.replace(old, text)
        named[new] = tensor
    return named


def torchvision(weights: Weights) -> Weights:
    pairs = (("blocks.", "encoder.layers.encoder_layer_"), ("attn.proj.",
             "self_attention.out_proj."), ("attn.qkv.", "self_attention.in_proj_"),
             ("norm1.", "ln_1."), ("norm2.", "ln_2."), ("mlp.fc1.", "mlp.0."),
             ("mlp.fc2.", "mlp.3."), ("cls_token", "class_token"),
             ("pos_embed", "encoder.pos_embedding"), ("patch_embed.proj.", "conv_proj."),
             ("head.0.", "heads.head."))
    named = {}
    for name, tensor in weights.items():
        new = f"encoder.ln.{name[5:]}" if name.startswith("norm.") else name
        for old, text in pairs:
            new = new.replace(old, text)
        named[new] = tensor
    return named


def same(loaded: FloatNetwork, weights: Weights) -> bool:
    """Whether all tensors are equal; the class token is a part of its position."""
    position = weights["pos_embed"].clone()
    position[:, :1] += weights["cls_token"]
    expected = weights | {"cls_token": torch.zeros_like(weights["cls_token"]),
                          "pos_embed": position}
    return loaded.weights.keys() == expected.keys() and all(
        torch.equal(loaded.weights[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("names", [timm, hugging_face, torchvision])
def test_each_family_is_the_same_network(tmp_path: Path, names: Callable, suffix: str) -> None:
    weights = seeded(PLAIN, 3)
    path = tmp_path / f"plain.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(names(weights), path)
    loaded = load(path, RAW)
    assert loaded.config == PLAIN
    assert same(loaded, weights)


@pytest.mark.parametrize("wrap", [
    lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"net": w},
    lambda w: {"model": {f"module.{k}": v for k, v in w.items()}},
    lambda w: {"state_dict": {"model": {f"_orig_mod.backbone.{k}": v for k, v in w.items()}}},
    lambda w: {"module": w}])
def test_containers_and_prefixes_are_taken_off(tmp_path: Path, wrap: Callable) -> None:
    weights = seeded(TRAINED, 2)
    torch.save(wrap(weights), tmp_path / "digits.pth")
    loaded = load(tmp_path / "digits.pth", RAW)
    assert loaded.config == TRAINED
    assert same(loaded, weights)


def test_the_container_is_said_and_chosen(tmp_path: Path) -> None:
    trained, averaged = seeded(PLAIN, 1), seeded(PLAIN, 2)
    path = tmp_path / "plain.pth"
    torch.save({"model": timm(trained), "model_ema": timm(averaged)}, path)
    loaded = load(path, RAW)
    assert same(loaded, trained)
    assert "container 'model' used, not 'model_ema' (--container chooses)" in loaded.notes
    assert same(load(path, replace(RAW, container="model_ema")), averaged)
    with pytest.raises(ValueError, match=r"has no container 'net'; it holds 'model', 'model_ema'$"):
        load(path, replace(RAW, container="net"))


def test_an_epsilon_that_nothing_tells_is_assumed_and_said(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file(timm(seeded(PLAIN, 1)), path)
    assumed, said = load(path, RAW), load(path, replace(RAW, epsilon=1e-5))
    assert (assumed.config.norm_epsilon, said.config.norm_epsilon) == (EPSILON, 1e-5)
    (note,) = set(assumed.notes) - set(said.notes)
    assert note == ("nothing tells what normalizations add to a row's variance: 1e-06 is assumed "
                    "(--epsilon says another)")
    with pytest.raises(ValueError, match=r"norm_epsilon=0\.0 is not between 0 and 1$"):
        load(path, replace(RAW, epsilon=0.0))


def test_our_own_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    network = FloatNetwork(PLAIN, seeded(PLAIN, 4), sized(NAMED["imagenet"], (16, 16), share=0.875))
    network.save(tmp_path / "n.safetensors")
    loaded = load(tmp_path / "n.safetensors")
    assert loaded.weights.keys() == network.weights.keys()
    assert all(torch.equal(loaded.weights[name], tensor)
               for name, tensor in network.weights.items())
    assert (loaded.config, loaded.preprocessing) == (PLAIN, network.preprocessing)
    assert loaded.preprocessing.resize == 18
    padded = replace(network, preprocessing=sized(NAMED["half"], (16, 16), place="corner"))
    padded.save(tmp_path / "n.safetensors")
    assert load(tmp_path / "n.safetensors").preprocessing == padded.preprocessing


@pytest.mark.parametrize(("change", "words"), [
    ({"num_tasks": 1 << 30, "num_classes": ()}, "num_tasks=1073741824 is beyond 1024"),
    ({"num_layers": 1 << 30}, "num_layers=1073741824 is beyond"),
    ({"image_height": 1 << 20}, "num_tokens=1048577 is beyond 65536"),
])
@pytest.mark.parametrize("read", [load, QuantizedModel.load])
def test_a_file_of_ours_that_claims_too_much_takes_no_memory(
        tmp_path: Path, read: Callable, change: dict, words: str) -> None:
    path = tmp_path / "n.safetensors"
    kind = FORMAT if read is load else QUANTIZED
    save_file({"cls_token": torch.zeros(1)}, path, {"format": kind, "config": json.dumps(
        vars(PLAIN) | change)})
    with pytest.raises(ValueError, match=re.escape(words)):
        read(path)


def distance(a: Tensor, b: Tensor) -> float:
    """Signal-to-noise ratio, in dB."""
    return float(10 * torch.log10(b.square().sum() / (a - b).square().sum()))


class Reference(nn.Module):
    """A vision transformer with what ours lacks, of PyTorch's own layers alone."""

    def __init__(self, weights: Weights, prefix: list[str], heads: int) -> None:
        super().__init__()
        self.w, self.prefix, self.heads = weights, prefix, heads

    def forward(self, x: Tensor) -> Tensor:
        w = self.w
        size = w["patch_embed.proj.weight"].shape[-1]
        x = functional.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], size)
        x = torch.cat([*(w[name] for name in self.prefix), x.flatten(2).mT], 1) + w["pos_embed"]
        for layer in range(2):
            p = {name.removeprefix(f"blocks.{layer}."): tensor for name, tensor in w.items()
                 if name.startswith(f"blocks.{layer}.")}
            h = functional.layer_norm(x, x.shape[-1:], p["norm1.weight"], p["norm1.bias"], 1e-6)
            q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (
                functional.linear(h, p["attn.qkv.weight"])).chunk(3, -1))
            h = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = x + p["ls1.gamma"] * functional.linear(h, p["attn.proj.weight"],
                                                       p["attn.proj.bias"])
            h = functional.layer_norm(x, x.shape[-1:], p["norm2.weight"], p["norm2.bias"], 1e-6)
            h = functional.gelu(functional.linear(h, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
            x = x + p["ls2.gamma"] * functional.linear(h, p["mlp.fc2.weight"], p["mlp.fc2.bias"])
        return x


@pytest.mark.parametrize("prefix", [[], ["cls_token"], ["cls_token", "dist_token"],
                                    ["cls_token", "dist_token", "reg_token"]])
def test_layer_scale_tokens_and_mean_are_folded(tmp_path: Path, prefix: list[str]) -> None:
    """Against PyTorch's own layers, on normalized pixels; without biases of Q, K and V."""
    generator = torch.Generator().manual_seed(len(prefix))
    plain = replace(PLAIN, num_classes=())
    weights = {name: tensor for name, tensor in seeded(plain, 5).items()
               if name not in {"cls_token", "pos_embed"} and not name.endswith("qkv.bias")}
    weights |= {f"blocks.{layer}.ls{part}.gamma": torch.rand(32, generator=generator)
                for layer in range(2) for part in (1, 2)}
    weights |= {name: torch.randn(1, 3 if name == "reg_token" else 1, 32, generator=generator)
                for name in prefix}
    count = sum(weights[name].shape[1] for name in prefix)
    weights["pos_embed"] = torch.randn(1, 16 + count, 32, generator=generator)
    save_file(weights, tmp_path / "n.safetensors")
    loaded = load(tmp_path / "n.safetensors", replace(RAW, preprocessing=NAMED["imagenet"]))
    assert loaded.config.num_tokens == 16 + count
    pixels = torch.randint(0, 256, (3, 16, 16), generator=generator).double()
    mean, std = (torch.tensor(getattr(NAMED["imagenet"], name)).double()[:, None, None]
                 for name in ("mean", "std"))
    reference = Reference({name: tensor.double() for name, tensor in weights.items()}, prefix, 2)
    expected = reference(((pixels / 255 - mean) / std)[None])[0]
    with torch.no_grad():
        assert distance(loaded.model().double()(pixels)[0], expected) > 100


def test_positions_of_another_size_are_interpolated(tmp_path: Path) -> None:
    """A gradient of positions stays one; the class token's is left alone, but has the token."""
    weights = timm(seeded(PLAIN, 6))
    ramp = torch.arange(4.0)[:, None] + torch.zeros(4, 4)
    weights["pos_embed"] = torch.cat([torch.full((1, 1, 32), 9.0),
                                      ramp.reshape(1, 16, 1).expand(1, 16, 32)], 1)
    save_file(weights, tmp_path / "n.safetensors")
    loaded = load(tmp_path / "n.safetensors", replace(RAW, image=(32, 24)))
    assert (loaded.config.image_height, loaded.config.image_width) == (32, 24)
    assert "positions of 4x4 patches interpolated to 8x6" in loaded.notes
    rows = loaded.weights["pos_embed"][0, 1:].reshape(8, 6, 32)
    assert torch.equal(loaded.weights["pos_embed"][0, 0], 9 + weights["cls_token"][0, 0])
    assert torch.allclose(rows, rows[:, :1, :1].expand_as(rows), atol=1e-5)
    assert torch.allclose(rows[2:6, 0, 0].diff(), torch.full((3,), 0.5), atol=0.1)


def planted(name: str, *shape: int) -> Callable[[Weights], None]:
    return lambda weights: weights.__setitem__(name, torch.ones(shape))


REFUSED = {
    "added before the blocks: take a network with such an embedding, such as ViT, DeiT": (
        planted("blocks.0.attn.relative_position_bias_table", 49, 2)),
    "layers.0.blocks.0.attn.qkv.weight: the accelerator does not compute windows of tokens": (
        planted("layers.0.blocks.0.attn.qkv.weight", 96, 32)),
    "attention of all tokens to all: take a network without windows, such as ViT": (
        planted("layers.0.downsample.norm.weight", 32)),
    "does not compute rotary positions (RoPE); it computes one position embedding": (
        planted("rope.freqs", 8)),
    "(QK-norm); it computes scaled products of queries and keys as their layer makes them: take": (
        planted("blocks.0.attn.q_norm.weight", 16)),
    "a gated MLP (SwiGLU); it computes two layers with one activation between: take a network": (
        planted("blocks.0.mlp.w12.weight", 128, 32)),
    "a normalization before the first block, as CLIP has one; it computes those within": (
        planted("norm_pre.weight", 32)),
    "lacks tensor attn_pool.q.weight of shape (32, 32)": planted("attn_pool.latent", 1, 1, 32),
    "tensor norm.weight has shape (7,), not (32,)": lambda weights: (
        weights.pop("head.weight"), weights.pop("head.bias"),
        planted("norm.weight", 7)(weights)),
    "tensor pos_embed has shape (1, 17, 31), not (1, tokens, 32)": planted("pos_embed", 1, 17, 31),
    "tensor patch_embed.proj.weight of shape (32, 3, 0, 0) has no square patches": (
        planted("patch_embed.proj.weight", 32, 3, 0, 0)),
    "tensor norm.bias is of torch.int8; weights are in floating point": (
        lambda weights: weights.__setitem__("norm.bias", torch.zeros(32, dtype=torch.int8))),
    "blocks.0.nosuch.weight of shape (3,) is not understood": planted("blocks.0.nosuch.weight", 3),
    "tensor head.weight has shape (5, 48), not (classes, 32)": planted("head.weight", 5, 48),
    "blocks are numbered [0, 1, 7], not from 0 on": planted("blocks.7.norm1.weight", 32),
    "its 24 positions, 1 of tokens before the patches, are of no square image": (
        planted("pos_embed", 1, 24, 32)),
    "holds NaN": lambda weights: weights["norm.bias"].__setitem__(3, torch.nan),
    "lacks tensor blocks.1.mlp.fc1.weight": lambda weights: weights.pop("blocks.1.mlp.fc1.weight"),
    "tensor blocks.0.attn.qkv.weight has shape (64, 32), not (96, 32)": (
        planted("blocks.0.attn.qkv.weight", 64, 32)),
    "no square patches": planted("patch_embed.proj.weight", 32, 3, 4, 2),
    "lacks tensor blocks.0.norm1.bias; say --norm rms": (
        lambda weights: weights.pop("blocks.0.norm1.bias")),
}


@pytest.mark.parametrize("name", ["n.safetensors", "n.pth"])
@pytest.mark.parametrize("words", REFUSED)
def test_what_is_not_computed_is_refused_by_name(tmp_path: Path, words: str, name: str) -> None:
    weights = {key: tensor.clone() for key, tensor in timm(seeded(PLAIN, 0)).items()}
    REFUSED[words](weights)
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(weights, path)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        load(path, RAW)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("options", "words"), [
    ({"heads": None}, "say --heads, which divides its width of 32"),
    ({"preprocessing": None}, "say --preprocessing imagenet, half, edge-moe"),
    ({"top_k": None}, "say --top-k, at most 4"),
    ({"image": (8000, 8000)}, "has more than 65536 patches of 2x2"),
    ({"heads": 3}, "embed_dim=32 is not a multiple of num_heads=3"),
    ({"image": (9, 8)}, "an image of 9x8 is no multiple of its patches of 2"),
    ({"preprocessing": replace(NAMED["half"], resize=(9, 9))}, "makes pictures of (9, 9)"),
    ({"pad": "center", "crop_share": 0.9}, "--crop-share and --pad both say"),
    ({"pad": "center", "fill": (1, 2)}, "color=(1, 2) is not of 1 channels"),
])
def test_what_a_file_does_not_tell_is_asked_for(tmp_path: Path, options: dict, words: str) -> None:
    save_file(seeded(TRAINED, 0), tmp_path / "n.safetensors")
    with pytest.raises(ValueError, match=re.escape(words)):
        load(tmp_path / "n.safetensors", replace(RAW, **options))


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
@pytest.mark.parametrize("size", [0, 5, 1000, -10])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, size: int) -> None:
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(seeded(TRAINED, 0), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"is not a complete") as error:
        load(path, RAW)
    assert str(path) in str(error.value)


class Planted:
    """Unpickles by creating a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": Planted(tmp_path / "planted")}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"holds pickled objects beside tensors, .* pathlib\."):
        load(tmp_path / "model.pth", RAW)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(("make", "words"), [
    (lambda: argparse.Namespace(epochs=3), "argparse.Namespace"),
    (lambda: np.float64(3), r"numpy\S*.scalar"),
    (lambda: Called(bytearray, 1 << 40), r"(builtins|__builtin__).bytearray"),
    (lambda: Called(Tensor, 1 << 40), r"torch.Tensor"),
    (lambda: Called(torch.UntypedStorage, 1 << 40), r"torch.storage.UntypedStorage"),
])
def test_what_makes_more_than_it_stores_is_not_called(
        tmp_path: Path, make: Callable, words: str) -> None:
    """What it holds is said, and how to do without."""
    torch.save({"model": timm(seeded(PLAIN, 0)), "args": make()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=rf"{words}.*; save its state_dict\(\) alone"):
        load(tmp_path / "model.pth", RAW)


class Called:
    """Unpickles by a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def test_containers_within_themselves_end(tmp_path: Path) -> None:
    state: dict = {}
    state["model"] = state
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="holds no tensors"):
        load(tmp_path / "model.pth", RAW)


def test_a_tensor_without_numbers_is_refused(tmp_path: Path) -> None:
    weights = timm(seeded(PLAIN, 0)) | {"norm.bias": torch.empty(32, device="meta")}
    torch.save(weights, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"norm\.bias .* is not stored element by element"):
        load(tmp_path / "model.pth", RAW)


def test_the_format_before_pytorch_1_6_is_read(tmp_path: Path) -> None:
    weights = timm(seeded(PLAIN, 0))
    torch.save(weights, tmp_path / "model.pth", _use_new_zipfile_serialization=False)
    assert same(load(tmp_path / "model.pth", RAW), seeded(PLAIN, 0))
    torch.save(weights | {"x": Called(bytearray, 1 << 40)}, tmp_path / "model.pth",
               _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="bytearray; save its"):
        load(tmp_path / "model.pth", RAW)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["n.safetensors", "n.pth"])
def test_other_floating_points_are_read(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    """The numbers are those of the file, in float32."""
    weights = {key: tensor.to(dtype) for key, tensor in timm(seeded(PLAIN, 0)).items()}
    (save_file if name.endswith("safetensors") else torch.save)(weights, tmp_path / name)
    loaded = load(tmp_path / name, RAW)
    assert {tensor.dtype for tensor in loaded.weights.values()} == {torch.float32}
    assert torch.equal(loaded.weights["head.0.weight"], weights["head.weight"].float())


@pytest.mark.parametrize("words", [
    {"config": "[" * 100_000}, {"config": "[]"}, {"config": '{"num_classes": null}'}, {},
    {"preprocessing": "[]"}, {"preprocessing": '{"mean": [0.5], "std": [0.5], "resize": [5]}'},
    {"config": json.dumps(vars(PLAIN) | {"name": 3})}])
def test_a_file_of_ours_that_says_nonsense_is_named(tmp_path: Path, words: dict) -> None:
    path = tmp_path / "n.safetensors"
    known = {"config": json.dumps(vars(PLAIN))} if "preprocessing" in words else {}
    save_file(seeded(PLAIN, 0), path, {"format": FORMAT} | known | words)
    with pytest.raises(ValueError, match=r"n\.safetensors: not a usable network"):
        load(path)


@pytest.mark.parametrize(("fields", "words"), [
    ({"image_size": "x"}, "image_size 'x' is neither a positive side"),
    ({"image_size": [1, 2, 3]}, "image_size [1, 2, 3] is neither"),
    ({"image_size": 0}, "image_size 0 is neither"),
    ({"num_attention_heads": [2]}, "is not a multiple of num_heads=[2]"),
    ({"num_attention_heads": -2}, "is not a multiple of num_heads=-2"),
    ({"hidden_act": ["gelu"]}, "hidden_act ['gelu'] is not one of gelu"),
    ({"layer_norm_eps": "1"}, "norm_epsilon='1' is not between 0 and 1"),
    ({"rope_theta": 100.0}, "config.json says rope_theta: the accelerator does not compute rotary"),
    ({"use_swiglu_ffn": True}, "use_swiglu_ffn: the accelerator does not compute a gated MLP"),
    ({"pretrained_cfg": 3}, "config.json says no preprocessing that is understood"),
])
def test_a_config_that_says_nonsense_is_named(tmp_path: Path, fields: dict, words: str) -> None:
    save_file(timm(seeded(PLAIN, 0)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 2} | fields))
    options = Options(preprocessing=None if "pretrained_cfg" in fields else NAMED["half"])
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        load(tmp_path, options)
    assert str(tmp_path) in str(error.value)


def test_what_a_decoder_has_refuses_no_backbone(tmp_path: Path) -> None:
    weights = timm(seeded(PLAIN, 0)) | {"decoders.depth.rel_pos": torch.zeros(3)}
    torch.save(weights, tmp_path / "model.pth")
    assert same(load(tmp_path / "model.pth", RAW), seeded(PLAIN, 0))


def test_a_tensor_larger_than_what_is_stored_takes_no_memory(tmp_path: Path) -> None:
    weights = timm(seeded(PLAIN, 0)) | {"norm.bias": torch.zeros(1).expand(1 << 40)}
    torch.save(weights, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"norm\.bias .* is not stored element by element"):
        load(tmp_path / "model.pth", RAW)


def edge_moe_file(name: str) -> str:
    """Edge-MoE's name of a weight, written out from its published list of files."""
    if not name.startswith("blocks."):
        return {"patch_embed.proj.weight": "patch_embed_weight",
                "patch_embed.proj.bias": "patch_embed_bias", "pos_embed": "pos_embed"}[name]
    _, layer, rest = name.split(".", 2)
    if rest.endswith("w_gate"):
        return f"l{layer}_w_gate_T_task{rest.split('.')[2]}"
    for prefix in ("attn.qkv", "mlp.fc", "mlp.experts."):
        rest = rest.replace(prefix, prefix.split(".")[1] if prefix != "mlp.experts." else "")
    return f"l{layer}_{rest.replace('attn.proj', 'attn_proj').replace('.', '_')}"


def write_edge_moe(folder: Path, weights: Weights) -> None:
    folder.mkdir()
    for name, tensor in weights.items():
        if name == "cls_token":
            continue
        if name == "pos_embed":
            tensor = tensor.clone()
            tensor[:, 0] += weights["cls_token"][0]
        data = tensor.T if name.endswith("w_gate") else tensor
        (folder / f"{edge_moe_file(name)}.float32.bin").write_bytes(
            data.contiguous().numpy().astype("<f4").tobytes())


def test_edge_moe_folder_computes_the_same(tmp_path: Path) -> None:
    weights = seeded(HEADLESS, 1)
    write_edge_moe(tmp_path / "digits", weights)
    assert {"l1_w_gate_T_task1.float32.bin", "l3_htoh4_bias.float32.bin",
            "l0_attn_proj_weight.float32.bin", "l2_fc1_weight.float32.bin"} <= {
        file.name for file in (tmp_path / "digits").iterdir()}
    loaded = load(tmp_path / "digits", RAW)
    assert loaded.config == HEADLESS
    image = torch.arange(64.0).view(1, 8, 8) * 4
    for task in range(2):
        expected = build(HEADLESS, weights)(image, task)[0]
        assert torch.allclose(loaded.model()(image, task)[0], expected, atol=1e-5)


def write_shards(folder: Path, weights: Weights, name: str, count: int) -> Path:
    """Write what transformers writes of a large network; return the index."""
    folder.mkdir(exist_ok=True)
    stem, suffix = name.split(".")
    files = [f"{stem}-{number:05}-of-{count:05}.{suffix}" for number in range(1, count + 1)]
    places = {key: files[number * count // len(weights)] for number, key in enumerate(weights)}
    for file in files:
        part = {key: tensor for key, tensor in weights.items() if places[key] == file}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / file)
    index = folder / f"{name}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_one_network(tmp_path: Path, name: str) -> None:
    """By their folder and by their index; a prefix is one of all shards or of none."""
    weights = seeded(PLAIN, 3)
    index = write_shards(tmp_path / "plain", hugging_face(weights), name, 3)
    for source in (tmp_path / "plain", index):
        loaded = load(source, RAW)
        assert replace(loaded.config, name="plain") == PLAIN
        assert same(loaded, weights)
        assert "3 shards joined" in loaded.notes
    wrapped = {f"module.{key}": tensor for key, tensor in timm(weights).items()}
    assert same(load(write_shards(tmp_path / "wrapped", wrapped, name, 2), RAW), weights)


def test_transformers_own_shards_are_read(tmp_path: Path) -> None:
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                    intermediate_size=64, image_size=16, patch_size=4)
    model = transformers.ViTForImageClassification(config).eval()
    transformers.logging.disable_progress_bar()
    for folder, size in (("whole", "1GB"), ("shards", "20KB")):
        model.save_pretrained(tmp_path / folder, max_shard_size=size)
    transformers.logging.enable_progress_bar()
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    options = Options(preprocessing=NAMED["half"])
    assert same(load(tmp_path / "shards", options), load(tmp_path / "whole", options).weights)


def relisted(index: Path, **places: object) -> None:
    fields = json.loads(index.read_text())
    index.write_text(json.dumps({"weight_map": fields["weight_map"] | places}))


SHARDS = [f"model-{number:05}-of-00006.safetensors" for number in range(1, 7)]
BROKEN_SHARDS = {
    f"lacks {SHARDS[1]}: 1 of the 6 shards that model.safetensors.index.json lists; fetch what": (
        lambda index: (index.parent / SHARDS[1]).unlink()),
    f"lacks {', '.join(SHARDS[1:4])} and 2 more: 5 of the 6 shards": (
        lambda index: [(index.parent / shard).unlink() for shard in SHARDS[1:]]),
    f"{SHARDS[2]} lacks tensor nosuch, which model.safetensors.index.json lists in it": (
        lambda index: relisted(index, nosuch=SHARDS[2])),
    "lists '../other.safetensors', which is not the name of a file beside it": (
        lambda index: relisted(index, nosuch="../other.safetensors")),
    "index.json lists no tensors with their files": lambda index: relisted(index, nosuch=3),
    "index.json is not a JSON file": lambda index: index.write_text("{"),
    f"{SHARDS[4]} is not a complete safetensors file": (
        lambda index: (index.parent / SHARDS[4]).write_bytes(b"0123")),
    f"{SHARDS[1]}: tensor cls_token is in another shard, too": (
        lambda index: save_file({"cls_token": torch.zeros(1, 1, 32)}, index.parent / SHARDS[1])),
    f"lacks model.safetensors.index.json, which lists {SHARDS[0]} and other shards; fetch it": (
        lambda index: index.unlink()),
}


@pytest.mark.parametrize("words", BROKEN_SHARDS)
def test_a_shard_that_is_missing_is_named(tmp_path: Path, words: str) -> None:
    index = write_shards(tmp_path / "plain", timm(seeded(PLAIN, 0)), "model.safetensors", 6)
    BROKEN_SHARDS[words](index)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        load(tmp_path / "plain", RAW)
    assert str(tmp_path / "plain") in str(error.value)
    assert "\n" not in str(error.value)


def test_one_shard_of_several_is_no_network(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "plain", timm(seeded(PLAIN, 0)), "model.safetensors", 6)
    with pytest.raises(ValueError, match=re.escape(f"say the folder of all of them, or {index}")):
        load(tmp_path / "plain" / SHARDS[0], RAW)


def write_ranks(folder: Path, weights: Weights, count: int) -> None:
    """As M³ViT's training does: all of rank 0, the experts alone of the others."""
    folder.mkdir()
    for rank in range(count):
        own = {f"module.backbone.{name}": tensor.chunk(count)[rank].clone()
               for name, tensor in weights.items() if ".experts." in name}
        shared = {f"module.backbone.{name}": tensor for name, tensor in weights.items()}
        decoder = {"module.decoders.depth.conv.weight": torch.zeros(3)}
        state = own if rank else decoder | shared | own
        torch.save({"state_dict": state, "epoch": 7}, folder / f"{rank}.pth")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_files_of_all_ranks_are_one_network(tmp_path: Path, count: int) -> None:
    weights = seeded(HEADLESS, 4)
    write_ranks(tmp_path / "digits", weights, count)
    loaded = load(tmp_path / "digits", RAW)
    assert loaded.config == HEADLESS
    assert same(loaded, weights)
    assert "decoders.depth.conv.weight left out: a task's decoder, which its own program runs" in (
        loaded.notes)


def test_a_rank_that_is_missing_or_odd_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    write_ranks(folder, seeded(HEADLESS, 4), 4)
    torch.save({"state_dict": {"blocks.0.norm1.weight": torch.ones(32)}}, folder / "3.pth")
    with pytest.raises(ValueError, match=r"3\.pth: tensor .* is not of the same experts"):
        load(folder, RAW)
    (folder / "1.pth").unlink()
    with pytest.raises(ValueError, match=r"lacks 1\.pth, the file of rank 1"):
        load(folder, RAW)


@pytest.mark.parametrize(("change", "words"), [
    (lambda file: file.unlink(), "lacks tensor blocks.1.mlp.experts.htoh4.weight"),
    (lambda file: file.write_bytes(file.read_bytes()[:-4]),
     "htoh4.weight has 4095 elements, which do not make the shape (4, 32, -1)"),
    (lambda file: file.write_bytes(file.read_bytes()[:-3]),
     "has 16381 bytes, no positive multiple of 4"),
    (lambda file: file.write_bytes(b"\x00\x00\xc0\x7f" + file.read_bytes()[4:]),
     "tensor blocks.1.mlp.experts.htoh4.weight of shape (4, 32, 32) holds NaN"),
    (lambda file: file.write_bytes(b""), "has 0 bytes, no positive multiple of 4"),
    (lambda file: file.rename(file.with_name("l1_nosuch.float32.bin")), "is no tensor that"),
])
def test_a_bad_edge_moe_file_is_named(tmp_path: Path, change: Callable, words: str) -> None:
    write_edge_moe(tmp_path / "weights", seeded(HEADLESS, 0))
    change(tmp_path / "weights" / "l1_htoh4_weight.float32.bin")
    with pytest.raises(ValueError, match=re.escape(words)):
        load(tmp_path / "weights", RAW)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth does not exist"):
        load(tmp_path / "nothing.pth", RAW)


def test_a_folder_of_timm_tells_its_pixels(tmp_path: Path) -> None:
    save_file(timm(seeded(PLAIN, 0)), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {
        "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "interpolation": "bicubic",
        "crop_pct": 0.9, "input_size": [3, 16, 16]}}))
    preprocessing = load(tmp_path, Options(heads=2)).preprocessing
    assert preprocessing == Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), resize=17,
                                          crop=(16, 16), interpolation="bicubic")


def test_a_picture_is_resized_and_cut_as_it_is_said() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8))
    preprocessing = Preprocessing(mean=(0.0,), std=(1.0,), resize=20, crop=(16, 12), order="BGR",
                                  interpolation="bicubic")
    expected = np.array(picture.resize((36, 20), Image.Resampling.BICUBIC))[2:18, 12:24, ::-1]
    assert (preprocessing.pixels(picture, 3).numpy() == expected.transpose(2, 0, 1)).all()
    black = replace(preprocessing, resize=None, crop=(52, 90)).pixels(picture, 3)
    assert (black[:, 0] == 0).all()
    assert (black[:, -1] == 0).all()
    assert black[:, 1:-1].any()


@pytest.mark.parametrize(("fields", "words"), [
    ({"do_thumbnail": True}, "do_thumbnail is not supported"),
    ({"size": {"longest_edge": 20}}, "field 'height' is missing"),
    ({"resample": 9}, "interpolation 9 is not one of nearest"),
    ({"size": {"height": [8], "width": 8}}, "resize=([8], 8) is not in sides"),
    ({"image_std": [0, 1, 1]}, "holds a number that is not above 0"),
    ({"image_mean": None}, "p.json says no preprocessing"),
])
def test_a_processor_that_does_more_is_refused(fields: dict, words: str) -> None:
    known = {"size": {"height": 8, "width": 8}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    assert processor(known, Path("p.json")).size == (8, 8)
    with pytest.raises(ValueError, match=re.escape(words)):
        processor(known | fields, Path("p.json"))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_table_is_its_activation(name: str) -> None:
    """Over its whole range, to a code of its output and one of its input."""
    function = activation(name)
    table, input_step, step, zero_point = activation_table(function, 4.2, 9.0)
    codes = torch.arange(1024)
    real = torch.where(codes > 511, codes - 1024, codes).double() * input_step
    values = (table.double() - zero_point) * step
    assert int(table[0]) == zero_point
    assert float((values - function(real)).abs().max()) < 0.51 * step + 0.005
    assert abs(float(values[512]) - float(function(torch.tensor(-9.0).double()))) < step
