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
from deltamoe.golden.operators import EVERY, QKV, Operator, Part
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.golden.sparsity.names import Product, recognized


@dataclass(frozen=True)
class Moment:
    """One frame.

    Attributes
    ----------
    operands : Mapping of Product to Tensor
        In the order in which they ran, the left operands (R, K): integer codes, real
        numbers, or bool where only the mask of what is not zero is known. Attention's are
        (H, T, K).
    keys : Mapping of str to Tensor
        By the name of the attention, which owns scores and values, the keys (H', S, Dh): of H'
        heads or of fewer, that
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

    operands: Mapping[Product, Tensor]
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
    weights : Mapping of Product to Tensor
        By product its weights (N, K); attention's products have none.
    zeros : Mapping of Product to int
        By product the code of zero, where it is not 0.
    config : ModelConfig, optional
        The network's dimensions; None for a network that is not one of
        :mod:`deltamoe.golden.model`.
    model : QuantizedModel, optional
        The network, if mechanisms are to be run in it.
    task : int
        Whose gates and head ran.
    floats : Mapping of Product to Tensor
        By product of the blocks its weights (N, K) before quantization, where they are known.
    widths : Mapping of Product to int
        By product of values how wide a head's values are, where that differs from its keys.
    macs : int
        Multiplications of all products in all frames, recorded or not; 0 if they were not counted.
    unseen : Mapping of str to int
        Those that are not recorded, by what made them; 0 where it is not known how many.
    """

    frames: tuple[Moment, ...]
    weights: Mapping[Product, Tensor]
    zeros: Mapping[Product, int] = field(default_factory=dict)
    config: ModelConfig | None = None
    model: QuantizedModel | None = None
    task: int = 0
    floats: Mapping[Product, Tensor] = field(default_factory=dict)
    widths: Mapping[Product, int] = field(default_factory=dict)
    macs: int = 0
    unseen: Mapping[str, int] = field(default_factory=dict)

    @property
    def unrecognized(self) -> list[str]:
        """Names of the products of which mechanisms do not know what they are."""
        return [str(product) for product in self.products if not recognized(product)]

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

    def find(self, part: Part, layer: int, expert: int | None = None) -> Product | None:
        """Return the first product with weights that is this part of a block, if there is one."""
        return next((product for product in self.weights if (
            product.part, product.layer, product.expert) == (part, layer, expert)), None)

    def values(self, product: Product) -> Tensor:
        """Return the operands of a product in all frames, (R, K) with zero at 0."""
        rows = [frame.operands[product].flatten(0, -2) for frame in self.frames
                if product in frame.operands]
        return torch.cat(rows).double() - self.zeros.get(product, 0)

    def scale(self, product: Product) -> Tensor:
        """Return what a sum of codes is worth in results, by row of the weights (N,)."""
        if self.model is None:
            return torch.ones(len(self.weights[product]), dtype=torch.float64)
        return (self.model[f"{product.whole}.multiplier"][place(product)].double()
                / 2.0 ** self.model.number(f"{product.whole}.shift"))

    def real(self, product: Product) -> Tensor:
        """Return the weights (N, K) of a product in units of its result; as recorded without one.

        Rows of codes have scales of their own, so only these compare across rows.
        """
        return self.weights[product].double() * self.scale(product)[:, None]

    def magnitude(self, product: Product) -> Tensor:
        """Return ``|w|`` (N, K) of a product's weights as they were trained.

        Quantization moves scales of operands into weights and gives rows scales of their own, so
        codes do not compare: not within a row, and not across layers. Only a record without a
        network, whose weights may be drawn or traced, has no others than those recorded.

        Raises
        ------
        ValueError
            The record is of a quantized network of which only the codes are known.
        """
        if product not in self.floats and self.model is not None:
            raise ValueError(f"the weights of {product} before quantization are not known, and "
                             "their codes do not compare")
        return self.floats.get(product, self.weights[product]).double().abs()

    def bias(self, product: Product) -> Tensor:
        """Return the biases (N,) of a product in units of its result; 0 without a model."""
        scale = self.scale(product)
        if self.model is None:
            return torch.zeros_like(scale)
        zero = self.zeros.get(product, 0) * self.weights[product].double().sum(-1)
        return (self.model[f"{product.whole}.bias"][place(product)] + zero) * scale

    def sharpness(self, layer: int) -> Tensor | None:
        """Return what a sum of query times key is in natural logits, by head (H, 1, 1)."""
        if self.model is None:
            return None
        name = Operator(Part.ATTENTION, layer)
        scale = log(2) / SCORE_OCTAVE / 2.0 ** self.model.number(f"{name}.shift")
        return self.model[f"{name}.multiplier"].double().view(-1, 1, 1) * scale

    @property
    def products(self) -> list[Product]:
        """All products that ran in some frame."""
        return list({product: None for frame in self.frames for product in frame.operands})


def share(part: int, whole: int) -> str:
    """Return a share in percent; what is missing never reads as nothing, nor as all."""
    percent = 100 * part / whole
    for digits in (0, 1, 2, 3):
        text = f"{percent:.{digits}f}"
        if float(text) not in (0, 100) or part in (0, whole):
            return f"{text} %"
    return "under 0.001 %" if percent < 50 else "over 99.999 %"


def place(product: Operator) -> slice | int:
    """Return the index of a product's tensors in those that a model stores for its operator."""
    return slice(None) if product.expert is None else product.expert


def natural(logits: Tensor, scale: tuple[int, int]) -> Tensor:
    """Return a gate's accumulators as natural logits."""
    multiplier, shift = scale
    return logits.double() * (multiplier / 2**shift / GATE_OCTAVE * log(2))


def weights_of(model: QuantizedModel, task: int) -> dict[Operator, Tensor]:
    """Return int8 weights (N, K) by product; a gate's are the planes of its int16 ones."""
    formats, weights = tensor_formats(model.config), {}
    for name, tensor in model.tensors.items():
        _, _, kind, operator = formats[name]
        if kind != "weight" or not operator.runs_for(task):
            continue
        if operator.expert is EVERY:
            weights |= {operator.of_expert(expert): each for expert, each in enumerate(tensor)}
        else:
            weights[operator] = planes(tensor) if operator.part == Part.GATE else tensor
    return weights


def floats_of(network: M3ViT) -> dict[Operator, Tensor]:
    """Return the weights (N, K) of the blocks' linear layers by product, before quantization."""
    floats = {}
    for layer, block in enumerate(network.blocks):
        attention, hidden = block.attn, (Part.FC1, Part.FC2)
        floats |= {Operator(part, layer): weight for part, weight in zip(
            QKV, attention.qkv.weight.detach().chunk(3), strict=True)}
        floats[Operator(Part.PROJ, layer)] = attention.proj.weight.detach()
        if not block.is_moe:
            floats |= {Operator(part, layer): getattr(block.mlp, part).weight.detach()
                       for part in hidden}
            continue
        for part, key in zip(hidden, ("htoh4", "h4toh"), strict=True):
            floats |= {Operator(part, layer, expert): weight for expert, weight in enumerate(
                block.mlp.experts[key].weight.detach())}
    return floats


def zeros_of(model: QuantizedModel, products: Iterable[Operator]) -> dict[Operator, int]:
    """Return the codes of zero: that of ``gelu(0)`` behind an activation."""
    return {product: int(model[f"{product.block}.gelu"][0]) for product in products
            if product.part == Part.FC2}


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
            trace.operands,
            {Operator(Part.SCORES, layer).owner: keys for layer, keys in trace.keys.items()},
            {layer: natural(logits, gate_scale(model, layer, task))
             for layer, logits in trace.logits.items()},
            {layer: experts for layer, (experts, _) in trace.routes.items()},
            pixels, trace.x, trace.predicted))
    if not moments:
        raise ValueError("there is no frame to record")
    weights, real = weights_of(model, task), getattr(network, "real", None)
    return Record(tuple(moments), weights, zeros_of(model, weights), model.config, model, task,
                  floats_of(real) if real is not None else {})
