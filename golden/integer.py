"""The network in integers: the exact specification of the hardware.

int64 throughout, no float; a division only in the softmax's normalizer and the gate's weights.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.attention import attention
from deltamoe.golden.arithmetic.gate import gate, gate_weights, planes
from deltamoe.golden.arithmetic.gelu import gelu
from deltamoe.golden.arithmetic.layer_norm import layer_norm
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.moe import moe, routed_tokens
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.arithmetic.residual import residual_add
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
from deltamoe.golden.operators import QKV, Operator, Part, feed_forward
from deltamoe.golden.quantization.quantized import QuantizedModel


@dataclass
class Trace:
    """What one inference made.

    ``x`` int16 (..., T, D) and ``scores`` int16 (..., classes) or None are the outputs; ``blocks``
    the residual stream after every block; ``routes`` by layer the experts and weights (..., T, k);
    ``operands`` by product the left operand, an expert's tokens of all images in one row after the
    other; ``sent``, from :mod:`deltamoe.golden.temporal.frames` only,
    which elements of it were events (bool, same shape), and ``known`` which of its rows had a state
    to start from (bool, rows).
    """

    x: Tensor
    scores: Tensor | None = None
    blocks: list[Tensor] = field(default_factory=list)
    routes: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    operands: dict[Operator, Tensor] = field(default_factory=dict)
    sent: dict[Operator, Tensor] = field(default_factory=dict)
    known: dict[Operator, Tensor] = field(default_factory=dict)

    @property
    def predicted(self) -> int | None:
        """Class with the highest score, the lower one of equal; None without classes."""
        return None if self.scores is None else int(self.scores.argmax())


class Integer:
    """Run a quantized network."""

    def __init__(self, model: QuantizedModel) -> None:
        self.model = model

    def run(self, pixels: Tensor, task: int = 0,
            experts: dict[int, Tensor] | None = None) -> Trace:
        """Infer uint8 ``pixels`` (..., C, height, width); ``experts`` forces the routing by layer.

        Raises
        ------
        ValueError
            The image's shape or the task does not fit the network.
        """
        config = self.model.config
        wanted = (config.image_channels, config.image_height, config.image_width)
        if tuple(pixels.shape[-3:]) != wanted:
            raise ValueError(f"image is {tuple(pixels.shape)}, the network takes {wanted}")
        if not 0 <= task < config.num_tasks:
            raise ValueError(f"task {task} is not in 0..{config.num_tasks - 1}")
        position = self.tensor("position")
        trace = Trace(position)
        patches = patchify(pixels.to(torch.int64), config.patch_size) - PIXEL_ZERO
        embedded = self.linear(Operator(Part.PATCH), patches, UPDATE, trace)     # (..., T-1, D)
        first = position[:1].expand_as(embedded[..., :1, :])
        x = torch.cat([first, residual_add(position[1:], embedded)], -2)         # (..., T, D)
        for layer in range(config.num_layers):
            x = self.block(layer, x, task, trace, (experts or {}).get(layer))
            trace.blocks.append(x)
        trace.x = x
        if config.num_classes:
            h = self.norm("norm", x[..., :1, :])
            trace.scores = self.linear(Operator(Part.HEAD, task=task), h, SCORE, trace)[..., 0, :]
        return trace

    def tensor(self, name: str) -> Tensor:
        """Return a tensor as int64."""
        return self.model[name].to(torch.int64)

    def keep(self, trace: Trace, product: Operator, a: Tensor) -> None:
        """Record the left operand of a product of the attention."""
        trace.operands[product] = a

    def product(self, trace: Trace, product: Operator, a: Tensor, weight: Tensor,
                tokens: Tensor | None = None) -> Tensor:
        """Record the left operand ``a`` (R, K); multiply by ``weight`` (N, K), without bias.

        ``tokens`` (R,), ascending, are the tokens of the rows of an expert.
        """
        trace.operands[product] = a
        return linear(a, weight)

    def linear(self, product: Operator, a: Tensor, result: Result, trace: Trace,
               tokens: Tensor | None = None) -> Tensor:
        """Multiply, add the bias, requantize."""
        name, index = product.whole, ... if product.expert is None else product.expert
        weight, bias, multiplier = (self.tensor(f"{name}.{kind}")[index]
                                    for kind in ("weight", "bias", "multiplier"))
        acc = self.product(trace, product, a, weight, tokens) + bias
        return requantize(acc, multiplier, self.model.number(f"{name}.shift"), result)

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Normalize rows."""
        return layer_norm(x, self.tensor(f"{name}.gain"), self.tensor(f"{name}.bias"),
                          gain_shift=self.model.number(f"{name}.shift"),
                          epsilon=self.model.number(f"{name}.epsilon"))

    def block(self, layer: int, x: Tensor, task: int, trace: Trace,
              experts: Tensor | None) -> Tensor:
        """One block, (..., T, D) to (..., T, D)."""
        x, name = self.attend(layer, x, trace), f"blocks.{layer}"
        h = self.norm(f"{name}.norm2", x)
        if self.model.config.is_moe(layer):
            return self.moe(layer, x, h, task, trace, experts)
        fc1, fc2 = feed_forward(self.model.config, layer)
        hidden = gelu(self.linear(fc1, h, HIDDEN, trace), self.model[f"{name}.gelu"])
        return residual_add(x, self.linear(fc2, hidden, UPDATE, trace))

    def attend(self, layer: int, x: Tensor, trace: Trace) -> Tensor:
        """First half of a block, (..., T, D) to (..., T, D)."""
        name, heads = f"blocks.{layer}", self.model.config.num_heads
        h = self.norm(f"{name}.norm1", x)
        q, k, v = (self.linear(Operator(part, layer), h, result, trace)          # (..., T, D)
                   for part, result in zip(QKV, (ACTIVATION, WEIGHT, WEIGHT), strict=True))
        out, e = attention(q, k, v, self.tensor(f"{name}.attention.multiplier"),
                           *(self.model.number(f"{name}.attention.{part}")
                             for part in ("shift", "kappa22", "kappa26")),
                           self.pairs(layer, q, k))
        self.keep(trace, Operator(Part.SCORES, layer),
                  q.unflatten(-1, (heads, -1)).transpose(-3, -2))                # (..., H, T, Dh)
        self.keep(trace, Operator(Part.VALUES, layer), e)                        # (..., H, T, T)
        return residual_add(x, self.linear(Operator(Part.PROJ, layer), out, UPDATE, trace))

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor | None:
        """Return which keys a query attends to, (H, T, T) bool; all of them, said as None."""
        return None

    def choose(self, layer: int, h: Tensor, logits: Tensor, scale: tuple[int, int],
               forced: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the experts and weights (T, k) of the tokens, ``logits`` (T, E) accumulators."""
        if forced is not None:
            return forced, gate_weights(logits, *scale, forced)
        return gate(logits, *scale, self.model.config.top_k)

    def moe(self, layer: int, x: Tensor, h: Tensor, task: int, trace: Trace,
            forced: Tensor | None) -> Tensor:
        """Gate, experts and their weighted sum; saturated once, after all experts."""
        gate, (fc1, fc2) = Operator(Part.GATE, layer, task=task), feed_forward(
            self.model.config, layer)
        acc = self.product(trace, gate, h, planes(self.model[f"{gate}.weight"]))  # (..., T, 2E)
        logits = (acc[..., 0::2] << PLANE) + acc[..., 1::2]                      # (..., T, E)
        scale = (self.model.number(f"{gate}.multiplier"), self.model.number(f"{gate}.shift"))
        chosen, weights = self.choose(layer, h, logits, scale, forced)
        trace.routes[layer] = chosen, weights

        flat = [part.reshape(-1, part.shape[-1]) for part in (x, h, chosen, weights)]

        def expert(index: int, rows: Tensor) -> Tensor:
            tokens = routed_tokens(flat[2], index)
            hidden = gelu(self.linear(fc1.of_expert(index), rows, HIDDEN, trace, tokens),
                          self.model[f"{gate.block}.gelu"])
            return self.linear(fc2.of_expert(index), hidden, EXPERT, trace, tokens)

        return moe(*flat, expert).view(x.shape)
