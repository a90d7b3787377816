"""Records in a file: one safetensors file, so that users bring traces of their own networks.

Tensors, with ``{frame}`` from 0 and ``{product}`` the product's name:

* ``{frame}.operand.{product}``: (R, K), or (H, T, K) in an attention, int8, int16 or float32. A
  mask alone is uint8 with eight elements a byte along K, the first in the highest bit
  (``numpy.packbits``); its K stands in the metadata.
* ``weight.{product}``: (N, K), int8 or float32, for every product but attention's two.
* ``{frame}.keys.{attention}`` (H', S, Dh) for every attention that has products
  ``{attention}.scores`` (H, T, Dh) and ``{attention}.values`` (H, T, S): H' divides H.
* optional ``{frame}.logits.{layer}`` (T, E) float64 or
  float32, and with it ``{frame}.routes.{layer}`` (T, k) of any integer type.

Metadata: ``format`` is ``deltamoe-trace-1``; ``record`` is a JSON object with

* ``frames``: how many,
* ``products``: for each frame the list of its products in the order in which they ran,
* ``masks``: K of each ``{frame}.operand.{product}`` that is packed,
* ``zeros``: the code of zero of each product where it is not 0,
* ``config``: the fields of :class:`deltamoe.golden.config.ModelConfig`; then products have the
  names of :func:`deltamoe.golden.operators.products`; or null,
* optional ``known``: without a ``config``, of each product the other fields of
  :class:`deltamoe.golden.sparsity.names.Named`; what is left out is recognized by its name,
* ``task``: whose gates and head ran,
* optional ``widths``: of each product of values how wide a head's values are, if not as its keys;
  ``macs``: how many multiplications all frames had, and ``unseen``: how many of them are not in
  the file, by what made them, 0 where it is not known how many.

The network itself is not in the file, so mechanisms apply to the recorded operands.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from errno import ENOENT
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import Part, products
from deltamoe.golden.quantization.tensor_file import read_tensors, write_tensors
from deltamoe.golden.sparsity.names import ATTENTION, Named, Product, recognize
from deltamoe.golden.sparsity.record import Moment, Record

FORMAT = "deltamoe-trace-1"
WIDEST = 1 << 16
"""Most elements of a head's values, which no tensor of a trace shows."""

LAYER = re.compile(r"-1|\d+")
FIELDS = {"frames": int, "products": list, "masks": dict, "zeros": dict, "config": dict | None,
          "task": int, "widths": dict, "macs": int, "unseen": dict, "known": dict}

KNOWN = {"part": str, "layer": int, "expert": int | None, "owner": str, "mixture": str}


def save(record: Record, path: Path) -> None:
    """Write a record, whole or not at all."""
    tensors = {f"weight.{product}": narrow(weight) for product, weight in record.weights.items()}
    masks = {}
    for number, moment in enumerate(record.frames):
        for product, operand in moment.operands.items():
            key = f"{number}.operand.{product}"
            if operand.dtype == torch.bool:
                masks[key] = operand.shape[-1]
                tensors[key] = torch.from_numpy(np.packbits(operand.numpy(), axis=-1))
            else:
                tensors[key] = narrow(operand)
        for kind in ("keys", "logits", "routes"):
            tensors |= {f"{number}.{kind}.{layer}": narrow(value) if kind != "logits" else value
                        for layer, value in getattr(moment, kind).items()}
    about = {"frames": len(record.frames),
             "products": [list(map(str, moment.operands)) for moment in record.frames],
             "masks": masks, "zeros": printed(record.zeros), "task": record.task,
             "known": {str(product): described(product)
                       for product in dict.fromkeys([*record.products, *record.weights])
                       if isinstance(product, Named)},
             "widths": printed(record.widths), "macs": record.macs, "unseen": dict(record.unseen),
             "config": asdict(record.config) if record.config else None}
    write_tensors(path, {name: tensor.clone() for name, tensor in tensors.items()},
                  {"format": FORMAT, "record": json.dumps(about)})


def printed(numbers: Mapping[Product, int]) -> dict[str, int]:
    """Return numbers by the names of products."""
    return {str(product): number for product, number in numbers.items()}


def described(product: Named) -> dict[str, Any]:
    """Return the fields of a product but its name."""
    return {name: value for name, value in asdict(product).items() if name != "name"}


def narrow(x: Tensor) -> Tensor:
    """Return codes in as few bytes as hold them, real numbers in four."""
    if x.is_floating_point():
        return x.float()
    for dtype in (torch.int8, torch.int16, torch.int32):
        limits = torch.iinfo(dtype)
        if not x.numel() or (x.min() >= limits.min and x.max() <= limits.max):
            return x.to(dtype)
    raise ValueError(f"a code of {int(x.abs().max())} does not fit 32 bits")


def load(path: Path) -> Record:
    """Read a file that :func:`save` wrote, or that keeps to its format.

    Raises
    ------
    ValueError
        The file is truncated or of another format, a tensor is missing, misshapen, not finite or
        not expected, or a number is out of range; the message names the file and the tensor.
    """
    try:
        metadata, tensors = read_tensors(path)
    except FileNotFoundError:
        raise FileNotFoundError(ENOENT, "there is no such file", str(path)) from None
    except OSError as error:
        raise ValueError(f"{path}: not a file that can be read ({error})") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: not a trace (metadata format is {metadata.get('format')!r}, "
                         f"not {FORMAT!r})")
    try:
        about = json.loads(metadata.get("record", "null"))
        return Reader(tensors, checked(about)).record()
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a usable trace ({error})") from None


def checked(about: Any) -> dict[str, Any]:
    """Check the metadata's record."""
    if not isinstance(about, dict):
        raise ValueError("metadata record is not a JSON object")
    about = {"widths": {}, "macs": 0, "unseen": {}, "known": {}} | about
    for name, kind in FIELDS.items():
        if name not in about or not isinstance(about[name], kind):
            raise ValueError(f"metadata record lacks {name}, or it is of the wrong type")
    listed = about["products"]
    if about["frames"] < 1 or len(listed) != about["frames"] or not all(
            isinstance(each, list) and all(isinstance(name, str) for name in each)
            for each in listed):
        raise ValueError(f"metadata record: products are not lists of names for each of "
                         f"frames={about['frames']} frames, of which one is needed")
    for number, names in enumerate(listed):
        if not names:
            raise ValueError(f"metadata record: frame {number} has no product")
    for kind in ("masks", "zeros"):
        if not all(type(value) is int and abs(value) < 2**31 for value in about[kind].values()):
            raise ValueError(f"metadata record: {kind} holds something that is no integer of 32 "
                             "bits")
    if not all(type(value) is int and 0 < value <= WIDEST for value in about["widths"].values()):
        raise ValueError(f"metadata record: widths holds something that is not in 1..{WIDEST}")
    missing = about["unseen"].values()
    if not all(type(value) is int and value >= 0 for value in missing) or (
            sum(missing) > about["macs"]):
        raise ValueError("metadata record: unseen holds something that is no integer from 0 on, or "
                         "more than macs")
    named = (name for names in (about["unseen"], *listed) for name in names)
    if not all(name.isprintable() for name in named):
        raise ValueError("metadata record: a name holds a character that cannot be printed")
    for name, fields in about["known"].items():
        if not isinstance(fields, dict) or fields.keys() != KNOWN.keys() or not all(
                isinstance(fields[field], kind) for field, kind in KNOWN.items()):
            raise ValueError(f"metadata record: known says of {name} something else than "
                             f"{', '.join(KNOWN)}")
    if about["task"] < 0:
        raise ValueError(f"metadata record: task={about['task']} is negative")
    return about


class Reader:
    """Take tensors out of a file, and check each."""

    def __init__(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        self.tensors, self.about = dict(tensors), about
        fields = about["config"]
        self.config = None if fields is None else ModelConfig(
            **fields | {"num_classes": tuple(fields.get("num_classes", ()))})
        self.own = {} if self.config is None else {
            str(product): product for product in products(self.config)}

    def product(self, name: str) -> Product:
        """Return a product by its name."""
        if self.config is None:
            fields = self.about["known"].get(name)
            return recognize(name) if fields is None else Named(name, **fields)
        if name not in self.own:
            raise ValueError(f"product {name} is none of {self.config.name}")
        return self.own[name]

    def take(self, name: str, axes: tuple[int, ...], *, whole: bool = False) -> Tensor:
        """Return a tensor with so many axes, finite, of integers if ``whole``."""
        if name not in self.tensors:
            raise ValueError(f"tensor {name} is missing")
        tensor = self.tensors.pop(name)
        if tensor.dim() not in axes or 0 in tensor.shape[1:]:
            raise ValueError(f"tensor {name} has shape {tuple(tensor.shape)}, not "
                             f"{' or '.join(map(str, axes))} axes")
        if tensor.is_complex():
            raise ValueError(f"tensor {name} holds complex numbers")
        if tensor.is_floating_point() and (whole or not tensor.isfinite().all()):
            contents = "real numbers" if whole else "NaN or infinity"
            raise ValueError(f"tensor {name} holds {contents}")
        return tensor if tensor.is_floating_point() else tensor.to(torch.int64)

    def record(self) -> Record:
        """Return the record, with no tensor left over."""
        ran = dict.fromkeys(self.product(name) for each in self.about["products"]
                            for name in each)
        weights = {product: self.take(f"weight.{product}", (2,)) for product in ran
                   if product.part not in ATTENTION}
        weights |= {self.product(key.removeprefix("weight.")): self.take(key, (2,))
                    for key in list(self.tensors) if key.startswith("weight.")}
        for product, weight in weights.items():
            if not len(weight):
                raise ValueError(f"tensor weight.{product} has shape {tuple(weight.shape)}, which "
                                 "is empty")
        moments = tuple(self.moment(number, names, weights)
                        for number, names in enumerate(self.about["products"]))
        if self.tensors:
            raise ValueError(f"tensor {next(iter(self.tensors))} is none of a trace's")
        zeros, widths = ({self.product(name): number
                          for name, number in self.about[kind].items()}
                         for kind in ("zeros", "widths"))
        return Record(moments, weights, zeros, self.config, task=self.about["task"], widths=widths,
                      macs=self.about["macs"], unseen=self.about["unseen"])

    def moment(self, number: int, names: list[str], weights: dict[Product, Tensor]) -> Moment:
        """Return one frame."""
        ran = map(self.product, names)
        operands = {product: self.operand(f"{number}.operand.{product}", weights.get(product))
                    for product in ran}
        parts: dict[str, dict] = {"keys": self.attentions(number, operands), "logits": {},
                                  "routes": {}}
        for key in list(self.tensors):
            frame, _, rest = key.partition(".")
            kind, _, layer = rest.partition(".")
            if frame == str(number) and kind in {"logits", "routes"} and LAYER.fullmatch(layer):
                parts[kind][int(layer)] = self.take(key, (2,), whole=kind == "routes")
        for layer, routes in parts["routes"].items():
            logits = parts["logits"].get(layer)
            if logits is None or len(logits) != len(routes) or not len(routes) or (
                    routes.min() < 0 or routes.max() >= logits.shape[-1]):
                raise ValueError(f"tensor {number}.routes.{layer} does not name experts of "
                                 f"{number}.logits.{layer} for each token")
        if parts["logits"].keys() != parts["routes"].keys():
            raise ValueError(f"frame {number} has logits of layers {sorted(parts['logits'])} and "
                             f"routes of layers {sorted(parts['routes'])}")
        parts["logits"] = {layer: value.double() for layer, value in parts["logits"].items()}
        return Moment(operands, **parts)

    def attentions(self, number: int, operands: dict[Product, Tensor]) -> dict[str, Tensor]:
        """Return the keys of every attention, which fit its queries and its probabilities."""
        by_name = {}
        for product, x in operands.items():
            if product.part not in ATTENTION:
                continue
            scores, values = (operands.get(product.beside(part)) for part in ATTENTION)
            stem = product.owner
            if scores is None or values is None or scores.dim() != 3 or values.dim() != 3 or (
                    scores.shape[:2] != values.shape[:2]):
                raise ValueError(f"tensors {number}.operand.{stem}.scores and .values are not (H, "
                                 "T, Dh) and (H, T, S)")
            if product.part == Part.VALUES:
                continue
            by_name[stem] = keys = self.take(f"{number}.keys.{stem}", (3,))
            if not len(keys) or len(x) % len(keys) or (
                    keys.shape[1:] != (values.shape[2], x.shape[2])):
                raise ValueError(f"tensor {number}.keys.{stem} has shape {tuple(keys.shape)}, "
                                 f"which does not fit queries {tuple(x.shape)} and "
                                 f"probabilities {tuple(values.shape)}")
        return by_name

    def operand(self, key: str, weight: Tensor | None) -> Tensor:
        """Return an operand that fits its weights."""
        x = self.take(key, (2, 3) if weight is None else (2,))
        if key in self.about["masks"]:
            depth = self.about["masks"][key]
            if x.is_floating_point() or x.shape[-1] != -(-depth // 8) or x.max() > 255:
                raise ValueError(f"tensor {key} has shape {tuple(x.shape)}, not the packed bits of "
                                 f"{depth} elements")
            x = torch.from_numpy(np.unpackbits(x.numpy().astype(np.uint8), axis=-1,
                                               count=depth)).bool()
        if weight is not None and x.shape[-1] != weight.shape[-1]:
            raise ValueError(f"tensor {key} has {x.shape[-1]} columns, its weights have "
                             f"{weight.shape[-1]}")
        return x
