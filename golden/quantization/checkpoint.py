"""Load float weights: folders of Edge-MoE, training checkpoints, safetensors files."""

from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.model import expected_shapes

Weights = dict[str, Tensor]


def load(path: str | Path, config: ModelConfig) -> Weights:
    """Read the weights of ``config`` under the names of :class:`deltamoe.golden.model.M3ViT`.

    A folder holds Edge-MoE's ``NAME.float32.bin`` tensors; a ``.safetensors`` file the named
    tensors; any other file is a PyTorch checkpoint, read without running pickled code, that is a
    state dictionary or holds one as ``state_dict`` or ``model``. Pixels are ``n / 256``.

    Raises
    ------
    FileNotFoundError
        No such path.
    ValueError
        A tensor is missing, misshapen, truncated or not finite, or the file is unreadable; the
        message names tensor, file and expected shape.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_dir():
        return _edge_moe(path, config)
    state = _safetensors(path) if path.suffix == ".safetensors" else _training(path)
    return validate(_plain_head(state), config, path)


def validate(state: Weights, config: ModelConfig, path: Path) -> Weights:
    """Check names, shapes and values of ``state``; tensors the network lacks are dropped."""
    weights = {}
    for name, shape in expected_shapes(config).items():
        if name not in state:
            raise ValueError(f"{path} lacks tensor {name} of shape {shape}")
        tensor = state[name]
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{path}: tensor {name} has shape {tuple(tensor.shape)}, not {shape}")
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: tensor {name} of shape {shape} holds NaN or infinity")
        weights[name] = tensor.float()
    return weights


def _safetensors(path: Path) -> Weights:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error


def _training(path: Path) -> Weights:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{path} is not a complete PyTorch checkpoint of tensors") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds {type(state).__name__}, not a dictionary of tensors")
    tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


def _plain_head(state: Weights) -> Weights:
    """Give the single head of a plain transformer the index of task 0."""
    return {name.replace("head.", "head.0.") if name in {"head.weight", "head.bias"} else name: t
            for name, t in state.items()}


def _edge_moe_names(config: ModelConfig) -> Iterable[tuple[str, str]]:
    """Pairs of our name and Edge-MoE's, for every tensor that Edge-MoE stores."""
    yield from (("patch_embed.proj.weight", "patch_embed_weight"),
                ("patch_embed.proj.bias", "patch_embed_bias"), ("pos_embed", "pos_embed"))
    for i in range(config.num_layers):
        pairs = [("attn.qkv", "qkv"), ("attn.proj", "attn_proj"), ("norm1", "norm1"),
                 ("norm2", "norm2")]
        if config.is_moe(i):
            pairs += [("mlp.experts.htoh4", "htoh4"), ("mlp.experts.h4toh", "h4toh")]
            for task in range(config.num_tasks):
                yield f"blocks.{i}.mlp.gate.{task}.w_gate", f"l{i}_w_gate_T_task{task}"
        else:
            pairs += [("mlp.fc1", "fc1"), ("mlp.fc2", "fc2")]
        for ours, theirs in pairs:
            for kind in ("weight", "bias"):
                yield f"blocks.{i}.{ours}.{kind}", f"l{i}_{theirs}_{kind}"


def _edge_moe(folder: Path, config: ModelConfig) -> Weights:
    """Read a folder of little-endian float32 files, one a tensor.

    Row 0 of ``pos_embed`` already contains the class token, which therefore is zero; gates are
    stored transposed.
    """
    if config.num_classes:
        raise ValueError(f"{folder}: Edge-MoE folders hold no head, but {config.name} needs one")
    shapes = expected_shapes(config)
    state = {"cls_token": torch.zeros(shapes["cls_token"])}
    for ours, theirs in _edge_moe_names(config):
        is_gate = ours.endswith("w_gate")
        shape = shapes[ours][::-1] if is_gate else shapes[ours]
        file = folder / f"{theirs}.float32.bin"
        if not file.exists():
            raise ValueError(f"{file} is missing: tensor {theirs} of shape {shape}")
        expected = 4 * int(np.prod(shape))
        if file.stat().st_size != expected:
            raise ValueError(f"{file} has {file.stat().st_size} bytes, tensor {theirs} of shape "
                             f"{shape} needs {expected}")
        tensor = torch.from_numpy(np.fromfile(file, "<f4").astype(np.float32)).view(shape)
        if not tensor.isfinite().all():
            raise ValueError(f"{file}: tensor {theirs} of shape {shape} holds NaN or infinity")
        state[ours] = tensor.mT.contiguous() if is_gate else tensor
    return validate(state, config, folder)
