"""Small records by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.mechanism import find
from deltamoe.golden.sparsity.names import Product, recognize
from deltamoe.golden.sparsity.record import Moment, Record
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.golden.sparsity.work import Frame


def by_name(values: Mapping[Product, Any]) -> dict[str, Any]:
    """Return what is known of products, by their names."""
    return {str(product): value for product, value in values.items()}


def play(name: str, record: Record, **parameters: float) -> list[Frame]:
    """Apply a mechanism by name."""
    mechanism = find(name, MECHANISMS)
    return mechanism.frames(record, **mechanism.given(parameters))


def layer(weight: list | Tensor, *frames: list | Tensor, name: str = "fc2") -> Record:
    """Return a record of one product, a frame for each operand."""
    product = recognize(name)
    return Record(tuple(Moment({product: torch.as_tensor(x)}) for x in frames),
                  {product: torch.as_tensor(weight)})


def attention(q: Tensor, k: Tensor) -> Record:
    """Return a record of one attention of (H, T, Dh) queries and keys."""
    scores, tokens = Operator(Part.SCORES, 0), q.shape[1]
    return Record((Moment({scores: q, Operator(Part.VALUES, 0): torch.ones(
        len(q), tokens, tokens, dtype=torch.int64)}, {scores.owner: k}),), {})


def experts(logits: list | Tensor, top_k: int, width: int = 4) -> Record:
    """Return a record of one layer with experts of width x width x width, logits by frame."""
    moments, gate = [], Operator(Part.GATE, 1, task=0)
    for frame in logits:
        value = torch.as_tensor(frame, dtype=torch.float64)
        chosen = value.argsort(dim=-1, descending=True, stable=True)[:, :top_k]
        x = torch.ones(len(value), width, dtype=torch.int64)
        moments.append(Moment({gate: x}, {}, {1: value}, {1: chosen}))
    count = moments[0].logits[1].shape[-1]
    weights = {Operator(part, 1, index): torch.ones(width, width, dtype=torch.int8)
               for index in range(count) for part in (Part.FC1, Part.FC2)}
    return Record(tuple(moments), {
        gate: torch.ones(2 * count, width, dtype=torch.int8), **weights})


def spoil(path: Path, spoiled: Path, *, tensors: dict | None = None, drop: str = "",
          metadata: dict | None = None, **fields: object) -> None:
    """Write a trace again with other tensors, fields of its record, or metadata."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
        kept = {name: file.get_tensor(name) for name in file.offset_keys() if name != drop}
    if fields:
        about["record"] = json.dumps(json.loads(about["record"]) | fields)
    save_file(kept | (tensors or {}), spoiled, metadata or about)
