"""Run a rule inside the integer network: what later layers see is what it left of earlier ones."""

import torch
from torch import Tensor

from deltamoe.golden import integer
from deltamoe.golden.arithmetic.attention import heads
from deltamoe.golden.arithmetic.gate import gate_weights
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.integer import Context, attend, feed_forward, gate_scale
from deltamoe.golden.numerics import LARGEST_MULTIPLIER, ROUTE_FRACTION
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.report import sqnr
from deltamoe.golden.sparsity.ledger import Ledger
from deltamoe.golden.sparsity.record import Moment, natural
from deltamoe.golden.sparsity.rule import Rule
from deltamoe.golden.sparsity.work import Frame

ABSENT = -(1 << 40)
"""Accumulator of an expert that does not exist: its exponential is 0."""


class Live:
    """The integer network under a rule, whose methods are what a context computes with."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.model = rule, rule.network(rule.record.model)

    def frame(self, moment: Moment) -> Frame:
        """Run one frame."""
        self.ledger = Ledger(self.rule)
        self.members: dict[int, Tensor] = {}
        self.attended: Tensor | None = None
        self.present: Tensor | None = None
        trace = integer.run(self.context(), moment.pixels, self.block)
        if not self.rule.runs:
            return self.ledger.frame()
        return self.ledger.frame(
            sqnr_db=sqnr(trace.x, moment.output),
            predicted=trace.predicted)

    def context(self) -> Context:
        """Return what a frame of the network computes with."""
        return Context(self.model, self.rule.record.task, product=self.product, mix=self.mix,
                       choose=self.choose)

    def product(self, product: Operator, a: Tensor, weight: Tensor, bias: Tensor | None,
                tokens: Tensor | None) -> Tensor:
        """Enter a product and multiply what is left of it; a layer's sums not made are 0."""
        zero = self.rule.record.zeros.get(product, 0)
        rows = torch.arange(len(a)) if tokens is None else tokens
        member = torch.ones(len(rows), dtype=torch.bool)
        if product.expert is not None and product.layer in self.members:
            member = self.members[product.layer][rows, product.expert]
        value = a.clone()
        value[member] = zero + self.ledger.product(product, a[member] - zero, weight, rows[member])
        acc = linear(value, weight, bias)
        if self.ledger.skipped is not None and product.part != Part.GATE:
            acc[member] = acc[member].masked_fill(self.ledger.skipped, 0)
        return acc

    def block(self, c: Context, layer: int, x: Tensor) -> Tensor:
        """One block, of the tokens that take part in it."""
        self.present = self.rule.alive(layer, x, self.attended)
        if self.present is None:
            return feed_forward(c, layer, self.attend(c, layer, x))
        out = x.clone()
        out[self.present] = feed_forward(c, layer, self.attend(c, layer, x[self.present]))
        return out

    def attend(self, c: Context, layer: int, x: Tensor) -> Tensor:
        """First half of a block, of the tokens that take part in it."""
        active = self.rule.attending(layer, x)
        if active is None:
            return attend(c, layer, x)
        out = x.clone()
        if active.any():
            out[active] = attend(c, layer, x[active])
        return out

    def mix(self, c: Context, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Ask the rule for the pairs, and enter both products of the attention."""
        config = self.model.config
        pairs = self.rule.pairs(layer, *(heads(x, config.num_heads) for x in (q, k)))
        out = integer.mix(c, layer, q, k, v, pairs)
        for part, columns in ((Part.SCORES, len(q)), (Part.VALUES, config.head_dim)):
            product = Operator(part, layer)
            self.ledger.attention(product, c.operands[product], pairs, columns)
        self.attended = spread(c.operands[product], self.present)
        return out

    def choose(self, c: Context, layer: int, h: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Ask the rule for the experts; one that a token does not use has weight 0."""
        allowed, scale = self.rule.allowed(layer), gate_scale(self.model, layer, c.task)
        if allowed is not None:
            logits = logits.masked_fill(~allowed, ABSENT)
        chosen, weights = integer.choose(c, layer, h, logits)
        real = natural(logits, scale)
        routed = self.rule.route(layer, h, real)
        if routed is not None:
            member = routed != 0                                             # (T, E)
            ranked = real.masked_fill(~member, -torch.inf)
            chosen = ranked.argsort(dim=-1, descending=True, stable=True)[:, :max(
                1, int(member.sum(-1).max()))]
            if routed.dtype == torch.bool:
                weights = gate_weights(logits, *scale, chosen) * member.gather(-1, chosen)
            else:
                weights = (routed.gather(-1, chosen) * (1 << ROUTE_FRACTION)).round().clamp(
                    max=LARGEST_MULTIPLIER).long()
            self.members[layer] = member
        else:
            member = torch.zeros(logits.shape, dtype=torch.bool).scatter(-1, chosen, True)
        self.ledger.route(layer, member)
        return chosen, weights


def spread(e: Tensor, present: Tensor | None) -> Tensor:
    """Return the attention (H, T', T') of those present as that of all tokens."""
    if present is None or e.shape[1] == len(present):
        return e
    places = present.nonzero().flatten()
    full = e.new_zeros(len(e), len(present), len(present))
    if len(places) == e.shape[1]:
        full[:, places[:, None], places] = e
    return full
