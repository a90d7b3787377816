"""What did not change from one frame to the next is not computed again."""

from dataclasses import replace
from math import inf

import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.sparsity.names import ATTENTION, Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Rule, Sent, charged
from deltamoe.golden.sparsity.work import Work
from deltamoe.golden.temporal.frames import State, advance
from deltamoe.golden.temporal.policy import Choice, Plan, Policy

SUM_BYTES = 4
"""A kept sum is an int32, a reference an int8."""


class Dense(Rule):
    """Everything."""

    def executed(self, model: QuantizedModel) -> tuple[QuantizedModel, Plan]:
        """Return a plan of one policy."""
        return model, Plan(Choice(Policy.DENSE))


class ZeroSkip(Rule):
    """Elements that are not zero; no result changes."""

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send what is not zero."""
        return Sent(x != 0)

    def executed(self, model: QuantizedModel) -> tuple[QuantizedModel, Plan]:
        """Return a plan of one policy."""
        return model, Plan(Choice(Policy.ZERO_SKIP))


class Remembering(Rule):
    """Compare with what was sent before, as :func:`deltamoe.golden.temporal.frames.advance`."""

    policy = Policy.DELTA

    def __init__(self, record: Record, theta: float = 0) -> None:
        super().__init__(record)
        self.theta = theta
        self.next_states: dict[Product, State] = {}

    def start(self) -> None:
        """Forget what the frame before did not send."""
        self.states, self.next_states, self.moved = self.next_states, {}, {}
        self.seen: dict[Product, Tensor] = {}
        self.shared: set[Product] = set()

    def see(self, product: Product, x: Tensor) -> None:
        """Note an operand; one that a product of the same block had before is kept once."""
        if any(other.layer == product.layer and torch.equal(before, x)
               for other, before in self.seen.items()):
            self.shared.add(product)
        self.seen[product] = x

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send what is new, and skip zeros in the attention."""
        if weight is None:
            return Sent(x != 0)
        self.see(product, x)
        events, state = advance(self.states.get(product), tokens, x, weight[:0],
                                Choice(self.policy, self.theta))
        self.next_states[product], self.moved[product] = state, events.any(-1)
        return Sent(events, value=state.reference)

    def executed(self, model: QuantizedModel) -> tuple[QuantizedModel, Plan]:
        """Return a plan of one policy, as far as the hardware's memory goes."""
        return model, Plan(Choice(self.policy, self.theta))

    def charge(self, product: Product, work: Work) -> Work:
        """Charge references and sums."""
        if product.part in ATTENTION:
            return work
        size = work.rows * self.row_bytes(product, work)
        return charged(work, read=size if product in self.states else 0, written=size)

    def row_bytes(self, product: Product, work: Work) -> int:
        """Bytes kept of a row: its reference, once for all that share it, and its sums.

        All rows are read, since each is compared and each one's sums are its result, and all are
        written back, as the hardware moves a layer's state as a whole.
        """
        reference = 0 if product in self.shared else work.depth
        return reference + SUM_BYTES * work.columns


class Delta(Remembering):
    """Elements that differ by more than theta from what was sent before; attention skips zeros."""


class TokenGate(Remembering):
    """Tokens of which an element does.

    A token that changed is computed whole, so of a half of a block only its operand and what it
    adds to the residual stream are kept: nothing between the layers of an MLP or of an expert.
    """

    policy = Policy.TOKEN_GATE

    def row_bytes(self, product: Product, work: Work) -> int:
        """Bytes kept of a row, at the ends of a half of a block only."""
        gated = product.expert is not None and any(
            other.part == Part.GATE and other.layer == product.layer for other in self.seen)
        begins = not (product.part == Part.FC2 and any(
            other.part == Part.FC1 and other.owner == product.owner for other in self.seen))
        ends = product.part not in {Part.FC1, Part.GATE}
        reference = work.depth if begins and not gated and product not in self.shared else 0
        return reference + SUM_BYTES * work.columns * ends


class ActivationDelta(Remembering):
    """The operand is rounded to multiples of a step; what rounds as before is not sent.

    The first frame differs from zero. Sums of exact differences are the sum of the rounded
    operand, so no error adds up and nothing is ever reset. One step for all layers stands for
    trained ones, and the attention's two products skip zeros only.
    """

    def __init__(self, record: Record, step: int) -> None:
        super().__init__(record)
        self.step = step

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send the difference of rounded operands."""
        if weight is None:
            return Sent(x != 0)
        self.see(product, x)
        rounded = (torch.floor(x / self.step + 0.5) * self.step).to(x.dtype)
        state = self.states.get(product)
        if state is None:
            state = State(tokens, torch.zeros_like(x), x[:, :0])
        before = torch.zeros_like(x)
        place = torch.searchsorted(state.tokens, tokens).clamp(max=max(0, len(state.tokens) - 1))
        if len(state.tokens):
            known = state.tokens[place] == tokens
            before[known] = state.reference[place[known]]
        self.next_states[product] = State(tokens, rounded, x[:, :0])
        return Sent(rounded != before, value=rounded)


class Eventful(TokenGate):
    """A token gate, and attention updated for the tokens that changed.

    ``Q K^T`` changes by ``q_new K^T + Q k_new^T``: ``2 r N d`` multiplications for ``r`` of ``N``
    tokens; the values' product alike. Computed anew from ``r = N / 2`` on.
    """

    def __init__(self, record: Record, theta: float) -> None:
        super().__init__(record, theta)
        for product in record.products:
            if product.part == Part.SCORES and self.queries(product) not in record.products:
                raise ValueError(f"policy eventful needs the layer that makes the queries of "
                                 f"{product}, and the record has none")

    def queries(self, product: Product) -> Product | None:
        """Return the layer that makes the queries of an attention."""
        return self.record.find(Part.Q, product.layer)

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send what is new; of the attention nothing here."""
        return Sent() if weight is None else super().send(product, x, weight, tokens)

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the state, and of the attention's products the update."""
        if product.part not in ATTENTION:
            return super().charge(product, work)
        queries = self.queries(product)
        moved = self.moved[queries]
        count, tokens = int(moved.sum()), len(moved)
        kept = SUM_BYTES * work.rows * work.columns
        if queries not in self.states or 2 * count >= tokens:
            return charged(work, written=kept)
        return updated(product.part, work, moved, kept)


def updated(part: Part, work: Work, moved: Tensor, kept: int) -> Work:
    """Return a product of the attention that is updated for the tokens ``moved`` (T,).

    The mask counts a pair once; where both tokens moved, both terms of the update compute it. The
    old sums, ``kept`` bytes, are read and written.
    """
    count, tokens = int(moved.sum()), len(moved)
    heads = work.rows // tokens
    pairs = (moved[:, None] | moved).repeat(heads, 1).numpy()               # (H T, T)
    scores = part == Part.SCORES
    changed = replace(work, events=None if scores else pairs, computed=pairs if scores else None)
    inner = work.depth if scores else work.columns
    return charged(changed, macs=heads * count * count * inner, read=kept, written=kept)


class TokenActivity(Rule):
    """Tokens take part in a block's attention if a router's probability exceeds 1/2.

    The router of a network that was not trained with one is the length of a token's row at the
    block's input, of the normalized one in a replay: a fixed share of the tokens, the longest, is
    active. Token 0 always is. SeqBoat's state-space layer and local attention are not here.
    """

    blocks = True

    def __init__(self, record: Record, active: float) -> None:
        super().__init__(record)
        self.active = active

    def attending(self, layer: int, x: Tensor) -> Tensor:
        """Keep the tokens with the longest rows."""
        length = x.double().square().sum(-1)
        length[0] = inf
        count = max(1, round(self.active * len(x)))
        return torch.zeros(len(x), dtype=torch.bool).scatter(
            0, length.argsort(dim=0, descending=True, stable=True)[:count], True)

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the router, one output a token."""
        if product.part != Part.Q:
            return work
        tokens = self.record.frames[0].operands[product].shape[0]
        return charged(work, macs=tokens * work.depth, weights=work.depth)
