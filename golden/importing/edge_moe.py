"""Edge-MoE's folders: one file of little-endian float32 for each tensor, without their shapes."""

import math
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deltamoe.golden.importing.containers import Weights

SUFFIX = ".float32.bin"
NAMES = (
    (r"(patch_embed)_(weight|bias)", r"\1.proj.\2"), (r"pos_embed", "pos_embed"),
    (r"l(\d+)_(qkv)_(weight|bias)", r"blocks.\1.attn.\2.\3"),
    (r"l(\d+)_attn_proj_(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (r"l(\d+)_(norm[12])_(weight|bias)", r"blocks.\1.\2.\3"),
    (r"l(\d+)_(fc[12])_(weight|bias)", r"blocks.\1.mlp.\2.\3"),
    (r"l(\d+)_(htoh4|h4toh)_(weight|bias)", r"blocks.\1.mlp.experts.\2.\3"),
    (r"l(\d+)_w_gate_T_task(\d+)", r"blocks.\1.mlp.gate.\2.w_gate"),
)
"""Patterns of Edge-MoE's names, and ours."""


def is_folder(path: Path) -> bool:
    """Whether a folder has files as Edge-MoE names them."""
    return path.is_dir() and any(path.glob(f"*{SUFFIX}"))


def read(folder: Path) -> Weights:
    """Return the tensors by timm's names; their shapes follow from the sizes of files.

    Row 0 of ``pos_embed`` already contains the class token, which therefore is zero; gates are
    stored transposed.

    Raises
    ------
    ValueError
        A file is missing, of no possible size, or has another name.
    """
    flat = {}
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        name = next((found.expand(ours) for pattern, ours in NAMES
                     if (found := re.fullmatch(pattern, file.name.removesuffix(SUFFIX)))), None)
        if name is None:
            raise ValueError(f"{file} is no tensor that Edge-MoE has")
        if not file.stat().st_size or file.stat().st_size % 4:
            raise ValueError(f"{file} has {file.stat().st_size} bytes, no positive multiple of 4")
        flat[name] = torch.from_numpy(np.fromfile(file, "<f4").astype(np.float32))
    if "patch_embed.proj.bias" not in flat:
        raise ValueError(f"{folder} lacks patch_embed_bias{SUFFIX}")
    dim = len(flat["patch_embed.proj.bias"])
    shaped = {name: _shaped(name, tensor, flat, dim, folder) for name, tensor in flat.items()}
    return shaped | {"cls_token": torch.zeros(1, 1, dim)}


def _shaped(name: str, tensor: Tensor, flat: Weights, dim: int, folder: Path) -> Tensor:
    """Give a tensor the shape that its number of elements and those of others tell."""
    stem, _, kind = name.rpartition(".")
    block = re.match(r"blocks\.\d+\.mlp", name)
    gate = flat.get(f"{block[0]}.gate.0.w_gate") if block else None
    experts = (max(1, len(gate) // dim),) if gate is not None and ".experts." in name else ()
    if kind == "w_gate":
        shape = (-1, dim)
    elif name == "pos_embed":
        shape = (1, -1, dim)
    elif name == "patch_embed.proj.weight":
        channels = 3 if _side(tensor.numel() / dim / 3) else 1
        side = _side(tensor.numel() / dim / channels)
        shape = (dim, channels, side, side)
    elif kind == "bias":
        shape = (*experts, -1)
    elif kind == "weight" and f"{stem}.bias" in flat and ".norm" not in name:
        count = len(flat[f"{stem}.bias"]) // math.prod(experts)
        shape = (*experts, count, -1)
    else:
        shape = (-1,)
    try:
        shaped = tensor.reshape(shape)
    except RuntimeError:
        raise ValueError(f"{folder}: tensor {name} has {tensor.numel()} elements, which do not "
                         f"make the shape {shape}") from None
    return shaped.mT.contiguous() if kind == "w_gate" else shaped


def _side(pixels: float) -> int:
    """Return the side of a square of so many pixels; 0 if there is none."""
    side = round(math.sqrt(pixels))
    return side if side * side == pixels else 0
