"""A sequence of frames in integers: each operator sends only what its policy calls new.

An operator's sum is linear in its operand, so the sum of a frame is that of the codes sent so
far plus that of the differences: ``W x = W r + W (x - r)``. Rows, not operators, have a state.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.integer import Context, Trace, run
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.temporal.policy import REMEMBERING, Choice, Plan, Policy


class State(NamedTuple):
    """What the rows of one matrix product have been sent.

    Attributes
    ----------
    tokens : Tensor
        (R,) int64, ascending: the tokens of the rows.
    reference : Tensor
        (R, K) int64: the codes that the accumulators stand for.
    acc : Tensor
        (R, N) int64: ``reference @ weight.T``. A row that is not sent keeps it, and so its
        requantized output; hardware may store either.
    """

    tokens: Tensor
    reference: Tensor
    acc: Tensor


def recall(state: State | None, tokens: Tensor, depth: int, columns: int
           ) -> tuple[Tensor, Tensor, Tensor]:
    """Return which ``tokens`` (R,) have a state (R, 1), and their references and accumulators.

    Those without one are 0.
    """
    if state is None or not len(state.tokens):
        return (torch.zeros(len(tokens), 1, dtype=torch.bool),
                tokens.new_zeros(len(tokens), depth), tokens.new_zeros(len(tokens), columns))
    place = torch.searchsorted(state.tokens, tokens).clamp(max=len(state.tokens) - 1)
    known = (state.tokens[place] == tokens)[:, None]
    return known, state.reference[place] * known, state.acc[place] * known


def advance(state: State | None, tokens: Tensor, x: Tensor, weight: Tensor, choice: Choice,
            zero_point: int = 0) -> tuple[Tensor, State]:
    """Send what is new in one matrix product.

    ``d = x - reference``, ``sent`` by policy, ``reference += d[sent]``, ``acc += W d[sent]``, from
    these references with the accumulators that belong to them:

    * ``dense``: 0, and every element is sent.
    * ``zero-skip``: ``zero_point``; sent where ``d`` is not 0.
    * ``delta``: that of the last frame; sent where ``|d| > theta``. What is not sent stays in
      ``d``, so ``|x - reference| <= theta`` after every frame.
    * ``token-gate``: that of the last frame, nothing sent, for a row without ``|d| > theta``;
      every other row is dense.

    A row without a state is dense, whatever theta: ``delta`` and ``token-gate`` start so.

    Parameters
    ----------
    state : State, optional
        Of the last frame; ignored by ``dense`` and ``zero-skip``.
    tokens : Tensor
        (R,) int64, ascending: the tokens of the rows.
    x : Tensor
        (R, K) int64, int8 or uint8 codes.
    weight : Tensor
        (N, K) int64.
    choice : Choice
        Policy and theta.
    zero_point : int
        Code of zero.

    Returns
    -------
    sent : Tensor
        (R, K) bool.
    state : State
        With the accumulators of this frame, to which the bias is still to be added.
    """
    if choice.policy == Policy.ZERO_SKIP:
        reference = torch.full_like(x, zero_point)
        acc = zero_point * weight.sum(-1)                                   # (N,)
        sent = x != zero_point
    else:
        known, reference, acc = recall(state, tokens, x.shape[-1], len(weight))
        sent = (x - reference).abs() > choice.theta
        fresh = ~known
        if choice.policy == Policy.DENSE:
            fresh = torch.ones_like(known)
        if choice.policy == Policy.TOKEN_GATE:
            fresh = fresh | sent.any(-1, keepdim=True)
        reference, acc, sent = reference * ~fresh, acc * ~fresh, sent | fresh
    moved = (x - reference) * sent                                          # 9 signed bits
    return sent, State(tokens, reference + moved, acc + linear(moved, weight))


class Temporal:
    """A quantized network on one frame after another, of one or many sequences side by side.

    With theta 0 every frame's result is that of :func:`deltamoe.golden.integer.infer`. Products
    that a frame does not run lose their state: the rows of an expert that a token left, and another
    task's gates and head. They start as in a first frame when they come back.

    Raises
    ------
    ValueError
        The plan does not fit the network.
    """

    def __init__(self, model: QuantizedModel, plan: Plan) -> None:
        self.model, self.choices = model, plan.resolve(model.config)
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self.states: dict[Operator, State] = {}

    def run(self, pixels: Tensor, task: int = 0,
            experts: Mapping[int, Tensor] | None = None) -> Trace:
        """Infer every sequence's next frame, with what was ``sent`` and ``known``."""
        before, after = self.states, {}
        sent: dict[Operator, Tensor] = {}
        known: dict[Operator, Tensor] = {}

        def send(product: Operator, a: Tensor, weight: Tensor, bias: Tensor | None,
                 tokens: Tensor | None) -> Tensor:
            """Multiply what is new, as :class:`deltamoe.golden.integer.Product`."""
            choice, state = self.choices[product.whole], before.get(product)
            x = a.flatten(0, -2)
            rows = torch.arange(len(x)) if tokens is None else tokens
            moved, following = advance(state, rows, x, weight, choice, self.zero_point(product))
            sent[product] = moved.view(a.shape)
            known[product] = torch.isin(rows, rows[:0] if state is None else state.tokens)
            if choice.policy in REMEMBERING:
                after[product] = following
            acc = following.acc.view(*a.shape[:-1], -1)
            return acc if bias is None else acc + bias

        trace = run(Context(self.model, task, experts or {}, send), pixels)
        self.states = after
        sent |= {product: self.attended(product, a) for product, a in trace.operands.items()
                 if product not in sent}
        return replace(trace, sent={product: sent[product] for product in trace.operands},
                       known=known)

    def zero_point(self, product: Operator) -> int:
        """Code of zero: ``gelu(0)`` behind an activation table, else 0."""
        return int(self.model[f"{product.block}.gelu"][0]) if product.part == Part.FC2 else 0

    def attended(self, product: Operator, a: Tensor) -> Tensor:
        """Return what is sent of an operand of the attention, which is always recomputed."""
        skips = self.choices[product.whole].policy == Policy.ZERO_SKIP
        return a != 0 if skips else torch.ones_like(a, dtype=torch.bool)
