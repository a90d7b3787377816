"""Weight files of three kinds load to the same network; broken ones say what is wrong."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from deltamoe.golden.config import MODELS
from deltamoe.golden.model import build
from deltamoe.golden.quantization.checkpoint import load
from deltamoe.golden.seeded import seeded

TRAINED = MODELS["digits"]
HEADLESS = replace(TRAINED, num_classes=())
Weights = dict[str, Tensor]


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
    write_edge_moe(tmp_path / "weights", weights)
    assert {"l1_w_gate_T_task1.float32.bin", "l3_htoh4_bias.float32.bin",
            "l0_attn_proj_weight.float32.bin", "l2_fc1_weight.float32.bin"} <= {
        file.name for file in (tmp_path / "weights").iterdir()}
    loaded = load(tmp_path / "weights", HEADLESS)
    image = torch.arange(64.0).view(1, 8, 8) * 4
    for task in range(2):
        expected = build(HEADLESS, weights)(image, task)[0]
        assert torch.allclose(build(HEADLESS, loaded)(image, task)[0], expected, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3},
                                  lambda w: {"model": {f"module.{k}": v for k, v in w.items()}}])
def test_training_checkpoint_loads_unchanged(tmp_path: Path, wrap: Callable) -> None:
    weights = seeded(TRAINED, 2)
    torch.save(wrap(weights), tmp_path / "model.pth")
    loaded = load(tmp_path / "model.pth", TRAINED)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_safetensors_and_a_plain_head_load(tmp_path: Path) -> None:
    config = replace(MODELS["deit-tiny-197"], num_layers=1, num_classes=(7,))
    weights = seeded(config, 3)
    renamed = {name.replace("head.0.", "head."): t for name, t in weights.items()}
    save_file(renamed, tmp_path / "deit.safetensors")
    loaded = load(tmp_path / "deit.safetensors", config)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def without(weights: Weights) -> None:
    del weights["blocks.1.mlp.gate.1.w_gate"]


def misshapen(weights: Weights) -> None:
    weights["blocks.0.attn.qkv.weight"] = weights["blocks.0.attn.qkv.weight"][:64].clone()


def not_a_number(weights: Weights) -> None:
    weights["norm.bias"][3] = torch.nan


@pytest.mark.parametrize(("spoil", "words"), [
    (without, "lacks tensor blocks.1.mlp.gate.1.w_gate of shape (32, 4)"),
    (misshapen, "tensor blocks.0.attn.qkv.weight has shape (64, 32), not (96, 32)"),
    (not_a_number, "tensor norm.bias of shape (32,) holds NaN"),
])
@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_a_bad_tensor_is_named(tmp_path: Path, name: str, spoil: Callable, words: str) -> None:
    weights = seeded(TRAINED, 0)
    spoil(weights)
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(weights, path)
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        load(path, TRAINED)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
@pytest.mark.parametrize("size", [0, 5, 1000, -10])
def test_a_truncated_file_is_named(tmp_path: Path, name: str, size: int) -> None:
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(seeded(TRAINED, 0), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"is not a complete") as error:
        load(path, TRAINED)
    assert str(path) in str(error.value)


class Planted:
    """Unpickles by creating a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": Planted(tmp_path / "planted")}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="is not a complete PyTorch checkpoint"):
        load(tmp_path / "model.pth", TRAINED)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(("change", "words"), [
    (lambda file: file.unlink(),
     "l1_htoh4_weight.float32.bin is missing: tensor l1_htoh4_weight of shape (4, 32, 32)"),
    (lambda file: file.write_bytes(file.read_bytes()[:-4]),
     "has 16380 bytes, tensor l1_htoh4_weight of shape (4, 32, 32) needs 16384"),
    (lambda file: file.write_bytes(b"\x00\x00\xc0\x7f" + file.read_bytes()[4:]),
     "tensor l1_htoh4_weight of shape (4, 32, 32) holds NaN"),
])
def test_a_bad_edge_moe_file_is_named(tmp_path: Path, change: Callable, words: str) -> None:
    write_edge_moe(tmp_path / "weights", seeded(HEADLESS, 0))
    change(tmp_path / "weights" / "l1_htoh4_weight.float32.bin")
    with pytest.raises(ValueError, match=re.escape(words)):
        load(tmp_path / "weights", HEADLESS)


def test_a_folder_cannot_give_a_head(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold no head, but digits needs one"):
        load(tmp_path, TRAINED)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pth does not exist"):
        load(tmp_path / "nothing.pth", TRAINED)
