"""The works of one frame, as its products come."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.rule import Rule
from deltamoe.golden.sparsity.work import Frame, Work


class Ledger:
    """The works of one frame, as its products come."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.works: dict[Product, Work] = {}
        self.routed: dict[int, np.ndarray] = {}
        self.existing: dict[int, np.ndarray] = {}
        self.skipped: Tensor | None = None
        rule.start()

    def product(self, product: Product, x: Tensor, weight: Tensor, tokens: Tensor,
                known: Tensor | None = None) -> Tensor:
        """Enter a product (R, K) x (K, N) with zero at 0; return what it sees of ``x``.

        ``known`` (R,) are the rows whose operand is at hand; the others are dense.
        """
        sent = self.rule.send(product, x, weight, tokens)
        events = sent.events
        if events is not None and known is not None:
            events = events | ~known[:, None]
        self.skipped = None if sent.computed is None else ~sent.computed
        if not len(x):
            return x
        used = torch.ones(x.shape[-1], dtype=torch.bool) if events is None else events.any(0)
        outs = torch.ones(len(weight), dtype=torch.bool) if sent.computed is None else (
            sent.computed.any(0))
        count, density = int(used.sum()) * int(outs.sum()), 1.0
        unused = 0 if self.rule.foreseen(product) else weight.numel() - count
        stored = self.rule.stored(product)
        if stored is not None:
            density, count, unused = float(stored.double().mean()), int(stored.sum()), 0
        self.works[product] = self.rule.charge(product, Work(
            rows=len(x), depth=x.shape[-1], columns=len(weight), events=mask(events),
            computed=mask(sent.computed), weight_density=density, weight_bytes=count,
            unused_bytes=unused))
        if sent.value is not None:
            return sent.value
        return x if events is None else x * events

    def attention(self, product: Product, x: Tensor, pairs: Tensor | None, columns: int,
                  groups: int = 0, cached: int = 0) -> None:
        """Enter a product of the attention, (H, T, K).

        Its right operand is on the chip, but for the first ``cached`` tokens' of each of ``groups``
        heads of keys and values: these are read, unless no query of all attends to them.
        """
        tokens = torch.arange(x.shape[1]).repeat(len(x))
        events = self.rule.send(product, x.flatten(0, 1), None, tokens).events
        computed, pairs = None, None if pairs is None else pairs.flatten(0, 1)
        if product.part == Part.SCORES:
            computed = pairs
        elif pairs is not None:
            events = pairs if events is None else events & pairs
        size, width = columns, x.shape[-1]
        if product.part == Part.VALUES:
            size, width = width, size
        read = groups * cached if pairs is None or not cached else int(
            pairs.view(groups, -1, size)[:, :, :cached].any(1).sum())
        work = Work(rows=len(tokens), depth=x.shape[-1], columns=columns, events=mask(events),
                    computed=mask(computed), weight_bytes=read * width)
        self.works[product] = (self.rule.charge(product, work) if x.shape[1] >= size
                               else self.charged(product, work, len(x) * size))

    def charged(self, product: Product, work: Work, rows: int) -> Work:
        """Charge what decides about some queries with their share of what all ``rows`` cost.

        The rules count heads as rows for each key.
        """
        whole = self.rule.charge(product, replace(work, rows=rows, events=None, computed=None))
        return replace(whole, rows=work.rows, events=work.events, computed=work.computed,
                       predictor_macs=-(-whole.predictor_macs * work.rows // rows))

    def route(self, layer: int, member: Tensor) -> None:
        """Enter which tokens go to which experts of a layer, ``member`` (T, E) bool.

        Raises
        ------
        ValueError
            A token goes to an expert that does not exist.
        """
        self.routed[layer] = member.sum(0).numpy()
        existing = self.rule.existing(layer)
        if existing is None or existing.all():
            return
        if bool(member[:, ~existing].any()):
            raise ValueError(f"layer {layer}: a token goes to an expert that does not exist")
        self.existing[layer] = existing.numpy()

    def frame(self, **outcome) -> Frame:
        """Return the frame."""
        return Frame(self.rule.finish(self.works), self.routed, self.existing, **outcome)


def mask(value: Tensor | None) -> np.ndarray | None:
    """Return a mask as an array."""
    return None if value is None else value.numpy()
