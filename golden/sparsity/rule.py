"""The hooks of a mechanism: what it decides, product by product; by default nothing is skipped."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.work import Work
from deltamoe.golden.temporal.policy import Plan


class Sent(NamedTuple):
    """What one product still does.

    Attributes
    ----------
    events : Tensor, optional
        (R, K) bool: elements that are multiplied. All if left out.
    computed : Tensor, optional
        (R, N) bool: results that are computed; the others are 0. All if left out.
    value : Tensor, optional
        (R, K): what the product sees instead of ``x``. If left out, ``x`` where it is an event
        and else 0.
    """

    events: Tensor | None = None
    computed: Tensor | None = None
    value: Tensor | None = None


class Rule:
    """A mechanism with its parameters, for one record.

    Operands reach it with zero at 0. It runs inside the integer network where the record has one,
    so later layers see what it did to earlier ones; else on the recorded operands.

    Attributes
    ----------
    record : Record
        What it may be calibrated on.
    """

    blocks = False
    """Whether it needs the blocks and heads of a network of :mod:`deltamoe.golden.model`."""
    runs = True
    """Whether the network computes what the mechanism would; else only its work is known."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def network(self, model: QuantizedModel) -> QuantizedModel:
        """Return the network that it runs on, of the same shapes."""
        return model

    def executed(self, model: QuantizedModel) -> tuple[QuantizedModel, Plan]:
        """Return the network and the plan with which the hardware does it, if it can."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin a frame."""

    def weight(self, product: Product, weight: Tensor) -> Tensor:
        """Return the weights (N, K) of a product."""
        return weight

    def stored(self, product: Product) -> Tensor | None:
        """Return which weights (N, K) of a product are kept, bool; None for all."""
        return None

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Decide about a product (R, K) x (K, N).

        ``weight`` (N, K) is None in attention's products, whose rows are those of all heads, and
        ``tokens`` (R,) are the tokens of the rows.
        """
        return Sent()

    def alive(self, layer: int, x: Tensor, attended: Tensor | None) -> Tensor | None:
        """Return the tokens (T,) bool that take part in a block, of all at first.

        ``x`` (T, D) is the block's input, ``attended`` (H, T, T) the attention of the block
        before, up to a factor for each row; None before the first.
        """
        return None

    def attending(self, layer: int, x: Tensor) -> Tensor | None:
        """Return the tokens (T,) bool that take part in a block's attention."""
        return None

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor | None:
        """Return which keys a query attends to, (H, T, T) bool, from both (H, T, Dh)."""
        return None

    def allowed(self, layer: int) -> Tensor | None:
        """Return the experts (E,) bool that exist for the gate and its softmax; None for all."""
        return None

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor | None:
        """Return the experts of the tokens (T, E), from the gate's operand and logits.

        As bool they keep the weights of the softmax over all experts; as float they are the
        weights, 0 where an expert is not used; the integer network saturates them below 1. None
        leaves the network's own routing.
        """
        return None

    def foreseen(self, product: Product) -> bool:
        """Whether the elements that a product needs are known before the frame.

        Then the other weights are never loaded; else they are, since loads run ahead.
        """
        return False

    def existing(self, layer: int) -> Tensor | None:
        """Return the experts (E,) bool that a frame can use, asked behind :meth:`route`.

        Only what is known before the frame counts: the weights of all others are never loaded.
        None for all; by default those that are allowed.
        """
        return self.allowed(layer)

    def charge(self, product: Product, work: Work) -> Work:
        """Add what the decision costs."""
        return work

    def finish(self, works: Mapping[Product, Work]) -> Mapping[Product, Work]:
        """Change the products of a whole frame, for what several of them share."""
        return works


def charged(work: Work, *, macs: int = 0, weights: int = 0, index: int = 0, read: int = 0,
            written: int = 0, reload: int = 1) -> Work:
    """Add multiplications and bytes to a product's work, whose weights are read so many times.

    ``read`` and ``written`` are the bytes of what is remembered.
    """
    return replace(work, weight_bytes=work.weight_bytes * reload,
                   unused_bytes=work.unused_bytes * reload,
                   predictor_macs=work.predictor_macs + macs,
                   predictor_bytes=work.predictor_bytes + weights,
                   index_bytes=work.index_bytes + index,
                   state_read_bytes=work.state_read_bytes + read,
                   state_written_bytes=work.state_written_bytes + written)


def largest(score: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest along the last axis; of equal ones the first."""
    order = score.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return torch.zeros(score.shape, dtype=torch.bool).scatter(-1, order, True)
