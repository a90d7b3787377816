"""The network in integers: the exact specification of the hardware. Read it top to bottom.

int64 throughout, no float; a division only in the softmax's normalizer and the gate's weights.
Shapes: T tokens, D embed_dim, H heads, Dh head_dim, E experts of which a token has k.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.attention import attention, heads
from deltamoe.golden.arithmetic.gate import gate, gate_weights, planes
from deltamoe.golden.arithmetic.gelu import gelu
from deltamoe.golden.arithmetic.layer_norm import layer_norm
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.moe import moe, routed_tokens
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.arithmetic.residual import residual_add
from deltamoe.golden.arithmetic.rms_norm import rms_norm
from deltamoe.golden.model import patchify
from deltamoe.golden.numerics import (
    ACTIVATION,
    EXPERT,
    HIDDEN,
    PIXEL_ZERO,
    PLANE,
    SCORE,
    UPDATE,
    WEIGHT,
    Result,
)
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.operators import block as named
from deltamoe.golden.quantization.quantized import QuantizedModel


@dataclass(frozen=True)
class Trace:
    """What one inference made.

    ``x`` int16 (..., T, D) and ``scores`` int16 (..., classes) or None are the outputs; ``blocks``
    the residual stream after every block; ``operands`` by product the left operand, an expert's
    tokens of all images in one row after the other; ``keys`` by layer (..., H, T, Dh); by layer
    with experts the accumulators of the gate, ``logits`` (..., T, E), and ``routes``, the experts
    and weights (..., T, k). From :mod:`deltamoe.golden.temporal.frames` only: ``sent``, which
    elements of an operand were events (bool, same shape), and ``known``, which of its rows had a
    state to start from (bool, rows).
    """

    x: Tensor
    scores: Tensor | None = None
    blocks: list[Tensor] = field(default_factory=list)
    operands: dict[Operator, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)
    logits: dict[int, Tensor] = field(default_factory=dict)
    routes: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    sent: dict[Operator, Tensor] = field(default_factory=dict)
    known: dict[Operator, Tensor] = field(default_factory=dict)

    @property
    def predicted(self) -> int | None:
        """Class with the highest score, the lower one of equal; None without classes."""
        return None if self.scores is None else int(self.scores.argmax())


class Product(Protocol):
    """How the sums of a matrix product are made."""

    def __call__(self, product: Operator, a: Tensor, weight: Tensor, bias: Tensor | None,
                 tokens: Tensor | None) -> Tensor:
        """Return ``a @ weight.T + bias``, or what stands for it.

        ``a`` is (..., T, K) and ``weight`` (N, K); of an expert ``a`` is (R, K), and ``tokens``
        (R,), ascending, are the tokens of the rows. A gate has no bias.
        """


def multiply(product: Operator, a: Tensor, weight: Tensor, bias: Tensor | None,
             tokens: Tensor | None) -> Tensor:
    """Multiply every element, which is a :class:`Product`."""
    return linear(a, weight, bias)


def mix(c: "Context", layer: int, q: Tensor, k: Tensor, v: Tensor,
        pairs: Tensor | None = None) -> Tensor:
    """Attention of queries to keys and values, all (..., T, D).

    ``pairs`` (H, T, T) bool are the keys that a query attends to; all if left out.
    """
    name, count = Operator(Part.ATTENTION, layer), c.model.config.num_heads
    scale = (c.model.number(f"{name}.{kind}") for kind in ("shift", "kappa22", "kappa26"))
    out, e = attention(q, k, v, c.model[f"{name}.multiplier"], *scale, pairs)    # (..., H, T, T)
    c.operands[Operator(Part.SCORES, layer)] = heads(q, count)                   # (..., H, T, Dh)
    c.operands[Operator(Part.VALUES, layer)] = e
    c.keys[layer] = heads(k, count)
    return out


def gate_scale(model: QuantizedModel, layer: int, task: int) -> tuple[int, int]:
    """Return multiplier and shift of a gate's accumulators."""
    name = Operator(Part.GATE, layer, task=task)
    return model.number(f"{name}.multiplier"), model.number(f"{name}.shift")


def choose(c: "Context", layer: int, h: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the experts and weights (..., T, k) of tokens ``h``, by the gate's accumulators."""
    forced, scale = c.experts.get(layer), gate_scale(c.model, layer, c.task)
    if forced is not None:
        return forced, gate_weights(logits, *scale, forced)
    return gate(logits, *scale, c.model.config.top_k)


@dataclass(frozen=True)
class Context:
    """What all functions of an inference read, how they compute, and what they note.

    Attributes
    ----------
    model : QuantizedModel
        The network.
    task : int
        Whose gates and head run.
    experts : Mapping of int to Tensor
        By layer, experts (..., T, k) that replace those of the gate.
    product : Product
        How the sums of all products are made but for the two of the attention.
    mix, choose : callable
        How tokens attend and how they get experts: :func:`mix`, :func:`choose`, or what calls them.
    operands, keys, logits, routes : dict
        Noted as :class:`Trace` has them, in the order in which the products run.
    """

    model: QuantizedModel
    task: int = 0
    experts: Mapping[int, Tensor] = field(default_factory=dict)
    product: Product = multiply
    mix: Callable[["Context", int, Tensor, Tensor, Tensor], Tensor] = mix
    choose: Callable[["Context", int, Tensor, Tensor], tuple[Tensor, Tensor]] = choose
    operands: dict[Operator, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)
    logits: dict[int, Tensor] = field(default_factory=dict)
    routes: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor:
        """Return a tensor of the network as int64."""
        return self.model[name].to(torch.int64)


def layer_of(c: Context, operator: Operator, a: Tensor, result: Result,
             tokens: Tensor | None = None) -> Tensor:
    """One linear layer: multiply, add the bias, requantize. ``tokens`` as in :class:`Product`."""
    name, part = operator.whole, ... if operator.expert is None else operator.expert
    weight, bias, multiplier = (c.tensor(f"{name}.{kind}")[part]
                                for kind in ("weight", "bias", "multiplier"))
    c.operands[operator] = a
    acc = c.product(operator, a, weight, bias, tokens)                           # (..., N)
    return requantize(acc, multiplier, c.model.number(f"{name}.shift"), result)


def norm(c: Context, name: str, x: Tensor) -> Tensor:
    """Normalize rows."""
    gain, (shift, epsilon) = c.tensor(f"{name}.gain"), (
        c.model.number(f"{name}.{kind}") for kind in ("shift", "epsilon"))
    if c.model.config.norm == "rms":
        return rms_norm(x, gain, shift, epsilon)
    return layer_norm(x, gain, c.tensor(f"{name}.bias"), shift, epsilon)


def attend(c: Context, layer: int, x: Tensor) -> Tensor:
    """First half of a block, (..., T, D) to (..., T, D)."""
    h = norm(c, f"{named(layer)}.norm1", x)
    q = layer_of(c, Operator(Part.Q, layer), h, ACTIVATION)
    k, v = (layer_of(c, Operator(part, layer), h, WEIGHT) for part in (Part.K, Part.V))
    context = c.mix(c, layer, q, k, v)
    return residual_add(x, layer_of(c, Operator(Part.PROJ, layer), context, UPDATE))


def feed_forward(c: Context, layer: int, x: Tensor) -> Tensor:
    """Second half of a block, (..., T, D) to (..., T, D)."""
    h = norm(c, f"{named(layer)}.norm2", x)
    if c.model.config.is_moe(layer):
        return mixture(c, layer, x, h)
    hidden = layer_of(c, Operator(Part.FC1, layer), h, HIDDEN)
    hidden = gelu(hidden, c.model[f"{named(layer)}.gelu"])
    return residual_add(x, layer_of(c, Operator(Part.FC2, layer), hidden, UPDATE))


def mixture(c: Context, layer: int, x: Tensor, h: Tensor) -> Tensor:
    """Gate, experts and their weighted sum; saturated once, after all experts."""
    gates = Operator(Part.GATE, layer, task=c.task)
    c.operands[gates] = h
    acc = c.product(gates, h, planes(c.model[f"{gates}.weight"]), None, None)    # (..., T, 2E)
    c.logits[layer] = logits = (acc[..., 0::2] << PLANE) + acc[..., 1::2]        # (..., T, E)
    c.routes[layer] = experts, weights = c.choose(c, layer, h, logits)           # (..., T, k)
    rows = [part.reshape(-1, part.shape[-1]) for part in (x, h, experts, weights)]

    def expert(index: int, a: Tensor) -> Tensor:
        tokens = routed_tokens(rows[2], index)
        hidden = layer_of(c, Operator(Part.FC1, layer, index), a, HIDDEN, tokens)
        hidden = gelu(hidden, c.model[f"{named(layer)}.gelu"])
        return layer_of(c, Operator(Part.FC2, layer, index), hidden, EXPERT, tokens)

    return moe(*rows, expert).view(x.shape)


def block(c: Context, layer: int, x: Tensor) -> Tensor:
    """One block, (..., T, D) to (..., T, D)."""
    return feed_forward(c, layer, attend(c, layer, x))


def embed(c: Context, pixels: Tensor) -> Tensor:
    """Patches behind the class token and its like, each with its position: (..., T, D)."""
    position = c.tensor("position")                                              # (T, D)
    patches = patchify(pixels.to(torch.int64), c.model.config.patch_size) - PIXEL_ZERO
    embedded = layer_of(c, Operator(Part.PATCH), patches, UPDATE)          # (..., patches, D)
    first, others = position.split([c.model.config.prefix_tokens, embedded.shape[-2]])
    first = first.expand(*embedded.shape[:-2], -1, -1)
    return torch.cat([first, residual_add(others, embedded)], -2)


def classify(c: Context, x: Tensor) -> Tensor:
    """Scores (..., classes) of the class token, which is the first."""
    h = norm(c, "norm", x[..., :1, :])
    return layer_of(c, Operator(Part.HEAD, task=c.task), h, SCORE)[..., 0, :]


def run(c: Context, pixels: Tensor,
        block: Callable[[Context, int, Tensor], Tensor] = block) -> Trace:
    """Infer as :func:`infer` in a context, its blocks by :func:`block` or what calls its halves."""
    config, blocks = c.model.config, []
    shape = (config.image_channels, config.image_height, config.image_width)
    if tuple(pixels.shape[-3:]) != shape:
        raise ValueError(f"image is {tuple(pixels.shape)}, the network takes {shape}")
    if not 0 <= c.task < config.num_tasks:
        raise ValueError(f"task {c.task} is not in 0..{config.num_tasks - 1}")
    x = embed(c, pixels)
    for layer in range(config.num_layers):
        x = block(c, layer, x)
        blocks.append(x)
    scores = classify(c, x) if config.num_classes else None
    return Trace(x, scores, blocks, c.operands, c.keys, c.logits, c.routes)


def infer(model: QuantizedModel, pixels: Tensor, task: int = 0,
          experts: Mapping[int, Tensor] | None = None) -> Trace:
    """Infer uint8 ``pixels`` (..., C, height, width); ``experts`` forces the routing by layer.

    Raises
    ------
    ValueError
        The image's shape or the task does not fit the network.
    """
    return run(Context(model, task, experts or {}), pixels)
