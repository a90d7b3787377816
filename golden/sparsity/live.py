"""Run a rule inside the integer network: what later layers see is what it left of earlier ones."""

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.gate import gate_weights
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.integer import Trace
from deltamoe.golden.numerics import LARGEST_MULTIPLIER, ROUTE_FRACTION, Result
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.report import sqnr
from deltamoe.golden.sparsity.ledger import Ledger
from deltamoe.golden.sparsity.record import Moment, Recorder, heads
from deltamoe.golden.sparsity.rule import Rule
from deltamoe.golden.sparsity.work import Frame

ABSENT = -(1 << 40)
"""Accumulator of an expert that does not exist: its exponential is 0."""


class Live(Recorder):
    """Run the integer network under a rule."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.network(rule.record.model))
        self.rule = rule

    def frame(self, moment: Moment) -> Frame:
        """Run one frame."""
        self.ledger = Ledger(self.rule)
        self.members: dict[int, Tensor] = {}
        self.attended: Tensor | None = None
        self.present: Tensor | None = None
        trace = self.run(moment.pixels, self.rule.record.task)
        if not self.rule.runs:
            return self.ledger.made()
        return self.ledger.made(
            sqnr_db=sqnr(trace.x, moment.output),
            predicted=trace.predicted)

    def product(self, trace: Trace, product: Operator, a: Tensor, weight: Tensor,
                tokens: Tensor | None = None) -> Tensor:
        """Enter a product and multiply what is left of it."""
        trace.operands[product], name = a, str(product)
        zero = self.rule.record.zeros.get(name, 0)
        rows = torch.arange(len(a)) if tokens is None else tokens
        member = torch.ones(len(rows), dtype=torch.bool)
        if product.expert is not None and product.layer in self.members:
            member = self.members[product.layer][rows, product.expert]
        value = a.clone()
        value[member] = zero + self.ledger.product(name, a[member] - zero, weight, rows[member])
        self.skipped = None
        if self.ledger.skipped is not None:
            self.skipped = torch.zeros(len(a), len(weight), dtype=torch.bool)
            self.skipped[member] = self.ledger.skipped
        return linear(value, weight)

    def linear(self, product: Operator, a: Tensor, result: Result, trace: Trace,
               tokens: Tensor | None = None) -> Tensor:
        """Multiply, add the bias, requantize; what is not made is 0."""
        out = super().linear(product, a, result, trace, tokens)
        return out if self.skipped is None else out * ~self.skipped

    def block(self, layer: int, x: Tensor, task: int, trace: Trace,
              experts: Tensor | None) -> Tensor:
        """One block, of the tokens that take part in it."""
        self.present = self.rule.alive(layer, x, self.attended)
        if self.present is None:
            return super().block(layer, x, task, trace, experts)
        out = x.clone()
        out[self.present] = super().block(layer, x[self.present], task, trace, experts)
        return out

    def attend(self, layer: int, x: Tensor, trace: Trace) -> Tensor:
        """First half of a block, of the tokens that take part in it."""
        active = self.rule.attending(layer, x)
        if active is None:
            return super().attend(layer, x, trace)
        out = x.clone()
        if active.any():
            out[active] = super().attend(layer, x[active], trace)
        return out

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor | None:
        """Ask the rule for the pairs."""
        super().pairs(layer, q, k)
        count = self.model.config.num_heads
        self.attends = self.rule.pairs(layer, heads(q, count), heads(k, count))
        return self.attends

    def keep(self, trace: Trace, product: Operator, a: Tensor) -> None:
        """Enter a product of the attention."""
        super().keep(trace, product, a)
        self.ledger.attention(str(product), a, self.attends, a.shape[1]
                              if product.part == Part.SCORES else self.model.config.head_dim)
        if product.part == Part.VALUES:
            self.attended = spread(a, self.present)

    def choose(self, layer: int, h: Tensor, logits: Tensor, scale: tuple[int, int],
               forced: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ask the rule for the experts; one that a token does not use has weight 0."""
        allowed = self.rule.allowed(layer)
        if allowed is not None:
            logits = logits.masked_fill(~allowed, ABSENT)
        chosen, weights = super().choose(layer, h, logits, scale, forced)
        wanted = self.rule.route(layer, h, self.logits[layer])
        if wanted is not None:
            member = wanted != 0                                             # (T, E)
            ranked = self.logits[layer].masked_fill(~member, -torch.inf)
            chosen = ranked.argsort(dim=-1, descending=True, stable=True)[:, :max(
                1, int(member.sum(-1).max()))]
            if wanted.dtype == torch.bool:
                weights = gate_weights(logits, *scale, chosen) * member.gather(-1, chosen)
            else:
                weights = (wanted.gather(-1, chosen) * (1 << ROUTE_FRACTION)).round().clamp(
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
