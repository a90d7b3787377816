"""The works of one frame, as its products come."""

import numpy as np
import torch
from torch import Tensor

from golden.sparsity.names import part
from golden.sparsity.rule import Rule
from golden.sparsity.work import Frame, Work


class Ledger:
    """The works of one frame, as its products come."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.works: dict[str, Work] = {}
        self.routed: dict[int, np.ndarray] = {}
        self.skipped: Tensor | None = None
        rule.start()

    def product(self, name: str, x: Tensor, weight: Tensor, tokens: Tensor,
                known: Tensor | None = None) -> Tensor:
        """Enter a product (R, K) x (K, N) with zero at 0; return what it sees of ``x``.

        ``known`` (R,) are the rows whose operand is at hand; the others are dense.
        """
        sent = self.rule.send(name, x, weight, tokens)
        events = sent.events
        if events is not None and known is not None:
            events = events | ~known[:, None]
        self.skipped = None if sent.made is None else ~sent.made
        if not len(x):
            return x
        used = torch.ones(x.shape[-1], dtype=torch.bool) if events is None else events.any(0)
        outs = torch.ones(len(weight), dtype=torch.bool) if sent.made is None else (
            sent.made.any(0))
        count, kept = int(used.sum()) * int(outs.sum()), 1.0
        stored = self.rule.stored(name)
        if stored is not None:
            kept, count = float(stored.double().mean()), int(stored.sum())
        self.works[name] = self.rule.charge(name, Work(
            rows=len(x), depth=x.shape[-1], columns=len(weight), events=mask(events),
            made=mask(sent.made), kept=kept, weight_bytes=count))
        if sent.value is not None:
            return sent.value
        return x if events is None else x * events

    def attention(self, name: str, x: Tensor, pairs: Tensor | None, columns: int) -> None:
        """Enter a product of the attention, (H, T, K); its right operand is on the chip."""
        tokens = torch.arange(x.shape[1]).repeat(len(x))
        events = self.rule.send(name, x.flatten(0, 1), None, tokens).events
        made, pairs = None, None if pairs is None else pairs.flatten(0, 1)
        if part(name) == "scores":
            made = pairs
        elif pairs is not None:
            events = pairs if events is None else events & pairs
        self.works[name] = self.rule.charge(name, Work(
            rows=len(tokens), depth=x.shape[-1], columns=columns, events=mask(events),
            made=mask(made), weight_bytes=0))

    def made(self, **outcome) -> Frame:
        """Return the frame."""
        return Frame(self.rule.finish(self.works), self.routed, **outcome)


def mask(value: Tensor | None) -> np.ndarray | None:
    """Return a mask as an array."""
    return None if value is None else value.numpy()
