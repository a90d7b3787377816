"""What a network computed on some frames: the operand of every matrix product, and the routing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import log

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.gate import planes
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.integer import gate_scale, infer
from deltamoe.golden.library import Network
from deltamoe.golden.model import M3ViT
from deltamoe.golden.numerics import GATE_OCTAVE, SCORE_OCTAVE
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.sparsity.names import recognized


@dataclass(frozen=True)
class Moment:
    """One frame.

    Attributes
    ----------
    operands : Mapping of str to Tensor
        By product, in the order in which they ran, the left operand (R, K): integer codes, real
        numbers, or bool where only the mask of what is not zero is known. Attention's are
        (H, T, K).
    keys : Mapping of str to Tensor
        By attention, ``blocks.{i}.attention``, the keys (H', S, Dh): of H' heads or of fewer, that
        H / H' heads of queries share, and of S tokens, of which those before the last T were kept
        from earlier frames.
    logits : Mapping of int to Tensor
        By layer with experts the gate's natural logits (T, E), real.
    routes : Mapping of int to Tensor
        By layer with experts the experts of each token (T, k).
    pixels : Tensor, optional
        uint8 (C, height, width), where the network can be run again.
    output : Tensor, optional
        Tokens (T, D) int16 of the network.
    predicted : int, optional
        Class with the highest score, where the network has classes.
    """

    operands: Mapping[str, Tensor]
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    logits: Mapping[int, Tensor] = field(default_factory=dict)
    routes: Mapping[int, Tensor] = field(default_factory=dict)
    pixels: Tensor | None = None
    output: Tensor | None = None
    predicted: int | None = None


@dataclass(frozen=True)
class Record:
    """Frames of one network, in order.

    Attributes
    ----------
    frames : tuple of Moment
        At least one.
    weights : Mapping of str to Tensor
        By product its weights (N, K); attention's products have none.
    zeros : Mapping of str to int
        By product the code of zero, where it is not 0.
    config : ModelConfig, optional
        The network's dimensions; None for a network that is not one of
        :mod:`deltamoe.golden.model`.
    model : QuantizedModel, optional
        The network, if mechanisms are to be run in it.
    task : int
        Whose gates and head ran.
    floats : Mapping of str to Tensor
        By product of the blocks its weights (N, K) before quantization, where they are known.
    widths : Mapping of str to int
        By product of values how wide a head's values are, where that differs from its keys.
    macs : int
        Multiplications of all products in all frames, recorded or not; 0 if they were not counted.
    unseen : Mapping of str to int
        Those that are not recorded, by what made them; 0 where it is not known how many.
    """

    frames: tuple[Moment, ...]
    weights: Mapping[str, Tensor]
    zeros: Mapping[str, int] = field(default_factory=dict)
    config: ModelConfig | None = None
    model: QuantizedModel | None = None
    task: int = 0
    floats: Mapping[str, Tensor] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    macs: int = 0
    unseen: Mapping[str, int] = field(default_factory=dict)

    @property
    def unrecognized(self) -> list[str]:
        """Names of the products of which mechanisms do not know what they are."""
        return [name for name in self.products if not recognized(name)]

    @property
    def seen(self) -> str:
        """Which share of the multiplications is recorded, what is not, and what has no role."""
        if not self.macs:
            return ""
        missing = sum(self.unseen.values())
        said = f"sees {share(self.macs - missing, self.macs)} of the MACs"
        if missing:
            most = sorted(self.unseen.items(), key=lambda pair: -pair[1])
            said += "; not: " + ", ".join(f"{name} {share(macs, self.macs)}"
                                          for name, macs in most if macs)
        uncounted = [name for name, macs in self.unseen.items() if not macs]
        if uncounted:
            said += f"; neither seen nor counted: {', '.join(uncounted)}"
        if self.unrecognized:
            said += ("; role in a block not recognized: "
                     f"{', '.join(self.unrecognized)}")
        return said

    def values(self, name: str) -> Tensor:
        """Return the operands of a product in all frames, (R, K) with zero at 0."""
        rows = [frame.operands[name].flatten(0, -2) for frame in self.frames
                if name in frame.operands]
        return torch.cat(rows).double() - self.zeros.get(name, 0)

    def scale(self, name: str) -> Tensor:
        """Return what a sum of codes is worth in results, by row of the weights (N,)."""
        if self.model is None:
            return torch.ones(len(self.weights[name]), dtype=torch.float64)
        key, index = stored(name)
        return (self.model[f"{key}.multiplier"][index].double()
                / 2.0 ** self.model.number(f"{key}.shift"))

    def real(self, name: str) -> Tensor:
        """Return the weights (N, K) of a product in units of its result; as recorded without one.

        Rows of codes have scales of their own, so only these compare across rows.
        """
        return self.weights[name].double() * self.scale(name)[:, None]

    def magnitude(self, name: str) -> Tensor:
        """Return ``|w|`` (N, K) of a product's weights as they were trained.

        Quantization moves scales of operands into weights and gives rows scales of their own, so
        codes do not compare: not within a row, and not across layers. Only a record without a
        network, whose weights may be drawn or traced, has no others than those recorded.

        Raises
        ------
        ValueError
            The record is of a quantized network of which only the codes are known.
        """
        if name not in self.floats and self.model is not None:
            raise ValueError(f"the weights of {name} before quantization are not known, and their "
                             "codes do not compare")
        return self.floats.get(name, self.weights[name]).double().abs()

    def bias(self, name: str) -> Tensor:
        """Return the biases (N,) of a product in units of its result; 0 without a model."""
        scale = self.scale(name)
        if self.model is None:
            return torch.zeros_like(scale)
        key, index = stored(name)
        zero = self.zeros.get(name, 0) * self.weights[name].double().sum(-1)
        return (self.model[f"{key}.bias"][index] + zero) * scale

    def sharpness(self, layer: int) -> Tensor | None:
        """Return what a sum of query times key is in natural logits, by head (H, 1, 1)."""
        if self.model is None:
            return None
        name = f"blocks.{layer}.attention"
        scale = log(2) / SCORE_OCTAVE / 2.0 ** self.model.number(f"{name}.shift")
        return self.model[f"{name}.multiplier"].double().view(-1, 1, 1) * scale

    @property
    def products(self) -> list[str]:
        """Names of all products that ran in some frame."""
        return list({name: None for frame in self.frames for name in frame.operands})


def share(part: int, whole: int) -> str:
    """Return a share in percent; what is missing never reads as nothing, nor as all."""
    percent = 100 * part / whole
    for digits in (0, 1, 2, 3):
        text = f"{percent:.{digits}f}"
        if float(text) not in (0, 100) or part in (0, whole):
            return f"{text} %"
    return "under 0.001 %" if percent < 50 else "over 99.999 %"


def stored(product: str) -> tuple[str, slice | int]:
    """Return the name under which a model stores a product's tensors, and the expert's index."""
    head, found, tail = product.partition(".experts.")
    if not found:
        return product, slice(None)
    index, last = tail.split(".")
    return f"{head}.experts.{last}", int(index)


def natural(logits: Tensor, scale: tuple[int, int]) -> Tensor:
    """Return a gate's accumulators as natural logits."""
    multiplier, shift = scale
    return logits.double() * (multiplier / 2**shift / GATE_OCTAVE * log(2))


def weights_of(model: QuantizedModel, task: int) -> dict[str, Tensor]:
    """Return int8 weights (N, K) by product; a gate's are the planes of its int16 ones."""
    weights = {}
    for name, tensor in model.tensors.items():
        product = name.removesuffix(".weight")
        if product == name or (("gate." in name or name.startswith("head."))
                               and int(product.split(".")[-1]) != task):
            continue
        if ".experts." in product:
            weights |= {product.replace("experts", f"experts.{expert}"): each
                        for expert, each in enumerate(tensor)}
        else:
            weights[product] = planes(tensor) if ".gate." in product else tensor
    return weights


def floats_of(network: M3ViT) -> dict[str, Tensor]:
    """Return the weights (N, K) of the blocks' linear layers by product, before quantization."""
    floats = {}
    for number, block in enumerate(network.blocks):
        name, attention = f"blocks.{number}", block.attn
        floats |= {f"{name}.{part}": weight for part, weight in zip(
            "qkv", attention.qkv.weight.detach().chunk(3), strict=True)}
        floats[f"{name}.proj"] = attention.proj.weight.detach()
        if not block.is_moe:
            floats |= {f"{name}.{part}": getattr(block.mlp, part).weight.detach()
                       for part in ("fc1", "fc2")}
            continue
        for part, key in (("fc1", "htoh4"), ("fc2", "h4toh")):
            floats |= {f"{name}.experts.{expert}.{part}": weight for expert, weight in enumerate(
                block.mlp.experts[key].weight.detach())}
    return floats


def zeros_of(model: QuantizedModel, products: Iterable[str]) -> dict[str, int]:
    """Return the codes of zero: that of ``gelu(0)`` behind an activation."""
    return {name: int(model[f"{'.'.join(name.split('.')[:2])}.gelu"][0]) for name in products
            if name.endswith(".fc2")}


def for_heads(keys: Tensor, count: int) -> Tensor:
    """Return keys (H', S, Dh) for each of ``count`` heads of queries, which share them in order."""
    return keys if len(keys) == count else keys.repeat_interleave(count // len(keys), 0)


def record(network: Network | QuantizedModel, frames: Iterable[Tensor], task: int = 0) -> Record:
    """Run the integer network on ``frames``, uint8 (C, height, width) each.

    Raises
    ------
    ValueError
        There is no frame, or one or the task does not fit the network.
    """
    model = network if isinstance(network, QuantizedModel) else network.quantized
    moments = []
    for pixels in frames:
        trace = infer(model, pixels, task)
        moments.append(Moment(
            {str(product): a for product, a in trace.operands.items()},
            {str(Operator(Part.ATTENTION, layer)): keys for layer, keys in trace.keys.items()},
            {layer: natural(logits, gate_scale(model, layer, task))
             for layer, logits in trace.logits.items()},
            {layer: experts for layer, (experts, _) in trace.routes.items()},
            pixels, trace.x, trace.predicted))
    if not moments:
        raise ValueError("there is no frame to record")
    weights, real = weights_of(model, task), getattr(network, "real", None)
    return Record(tuple(moments), weights, zeros_of(model, weights), model.config, model, task,
                  floats_of(real) if real is not None else {})
