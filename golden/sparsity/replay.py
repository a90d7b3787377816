"""Apply a rule to recorded operands, which do not react."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from deltamoe.golden.operators import QKV, Part
from deltamoe.golden.sparsity.ledger import Ledger
from deltamoe.golden.sparsity.names import ATTENTION, SEVERAL, Product
from deltamoe.golden.sparsity.record import Moment, for_heads
from deltamoe.golden.sparsity.rule import Rule
from deltamoe.golden.sparsity.work import Frame

FIRST_HALF = (*QKV, *SEVERAL, *ATTENTION, Part.PROJ)
"""Products of a block's attention."""


class Replay:
    """One recorded frame under a rule."""

    def __init__(self, rule: Rule, moment: Moment) -> None:
        self.rule, self.record, self.moment = rule, rule.record, moment
        self.ledger = Ledger(rule)
        self.layer = -1
        self.routed: set[Product] = set()
        self.present: Tensor | None = None
        self.active: Tensor | None = None
        self.attends: Tensor | None = None
        self.attended: Tensor | None = None

    def frame(self) -> Frame:
        """Enter all products."""
        for product, a in self.moment.operands.items():
            x = a.double() - self.record.zeros.get(product, 0)
            if product.layer not in {None, -1, self.layer}:
                self.enter(product.layer, x)
            if product.part in ATTENTION:
                self.attention(product, x)
            elif product not in self.routed:
                self.linear(product, x)
        return self.ledger.frame()

    def enter(self, number: int, x: Tensor) -> None:
        """Begin a block, whose first operand is ``x``."""
        self.layer, self.attends = number, None
        if self.record.config:
            self.present = self.rule.alive(number, x, self.attended)
            self.active = self.rule.attending(number, x)

    def taken(self, product: Product, count: int) -> Tensor:
        """Return which of the ``count`` tokens of a product take part in it."""
        all_tokens = torch.ones(count, dtype=torch.bool)
        sets = [self.present, self.active if product.part in FIRST_HALF else None]
        for tokens in sets:
            if tokens is not None and len(tokens) == count:
                all_tokens = all_tokens & tokens
        return all_tokens

    def linear(self, product: Product, x: Tensor) -> None:
        """Enter a linear layer, and behind a gate its experts."""
        taken = self.taken(product, len(x))
        weight = self.rule.weight(product, self.record.weights[product])
        self.ledger.product(product, x[taken], weight, taken.nonzero().flatten())
        if product.part == Part.GATE and self.layer in self.moment.logits:
            for expert in self.experts(product, taken):
                self.ledger.product(*expert)

    def attention(self, product: Product, x: Tensor) -> None:
        """Enter a product of the attention, (H, T, K), of the tokens that take part."""
        keys = self.moment.keys[product.owner]
        size = self.moment.operands[product.beside(Part.VALUES)].shape[-1]
        groups, cached = len(keys), max(0, size - x.shape[1])
        taken = self.taken(product, x.shape[1])
        kept = taken if size == len(taken) else torch.ones(size, dtype=torch.bool)
        if product.part == Part.VALUES:
            if x.shape[1] == size:
                self.attended = x * taken[:, None] * taken
            self.ledger.attention(product, x[:, taken][:, :, kept], self.attends,
                                  self.record.widths.get(product, keys.shape[-1]), groups, cached)
            return
        x = x[:, taken]
        self.attends = self.pairs(x, for_heads(keys, len(x))[:, kept].double())
        self.ledger.attention(product, x, self.attends, int(kept.sum()), groups, cached)

    def pairs(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """Ask the rule for the pairs (H, T, S) of queries (H, T, Dh) and keys (H, S, Dh).

        Fewer queries than keys are the last ones, behind others that are 0 for the rule. More
        queries than keys are of other tokens than these, so all pairs are left.
        """
        before = keys.shape[1] - queries.shape[1]
        if before < 0:
            return None
        pairs = self.rule.pairs(self.layer, pad(queries, (0, 0, before, 0)), keys)
        return None if pairs is None else pairs[:, before:].contiguous()

    def experts(self, gate: Product, taken: Tensor) -> Iterator[tuple]:
        """Return the products of a layer's experts, for the tokens that the rule sends there."""
        logits = self.moment.logits[self.layer]
        took = torch.zeros(logits.shape, dtype=torch.bool).scatter(
            -1, self.moment.routes[self.layer], True)
        allowed = self.rule.allowed(self.layer)
        if allowed is not None:
            logits = logits.masked_fill(~allowed, -torch.inf)
        chosen = self.rule.route(self.layer, self.moment.operands[gate].double(), logits)
        member = (took if chosen is None else chosen != 0) & taken[:, None]
        self.ledger.route(self.layer, member)
        for product, weight in self.record.weights.items():
            index = product.expert
            if product.layer != self.layer or not gate.routes(product) or (
                    index >= logits.shape[-1]):
                continue
            self.routed.add(product)
            tokens = member[:, index].nonzero().flatten()
            full = torch.zeros(len(logits), weight.shape[-1], dtype=torch.float64)
            known, seen = took[:, index], self.moment.operands.get(product)
            if seen is not None and len(seen) == len(full):
                known = torch.ones_like(known)
                full = seen.double() - self.record.zeros.get(product, 0)
            elif seen is None or len(seen) != int(known.sum()):
                known = torch.zeros_like(known)
            else:
                full[known] = seen.double() - self.record.zeros.get(product, 0)
            if len(tokens):
                yield (product, full[tokens], self.rule.weight(product, weight), tokens,
                       known[tokens])
