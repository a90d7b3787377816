"""Which keys a query attends to, one query at a time or for all of a head's."""

from math import inf

import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Rule, charged, largest
from deltamoe.golden.sparsity.work import Work


def probabilities(q: Tensor, k: Tensor, sharpness: Tensor | None) -> Tensor:
    """Return the softmax of the scores of ``q`` (H, R, Dh) on ``k`` (H, T, Dh), real.

    ``sharpness`` (H, 1, 1) makes them logits; if it is not known, their deviation is taken as 1.
    """
    scores = q.double() @ k.double().mT
    if sharpness is None:
        sharpness = 1 / scores.std(correction=min(1, scores.numel() - 1)).clamp(min=1e-9)
    return (scores * sharpness).softmax(-1)


class Pages(Rule):
    """The pages of keys with the highest bound on a query's score (Quest).

    A page's bound is ``sum_d max(q_d low_d, q_d high_d)`` with the extremes of its keys. Quest
    chooses for the token that is decoded; here each query of an image chooses, without a causal
    mask.
    """

    def __init__(self, record: Record, density: float, page: int) -> None:
        super().__init__(record)
        self.density, self.page = density, page

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Keep the best pages of each query."""
        q, k = q.double(), k.double()
        pages = [(part.amin(1), part.amax(1)) for part in k.split(self.page, 1)]
        low, high = (torch.stack(each, 1) for each in zip(*pages, strict=True))   # (H, P, Dh)
        bound = (q.clamp(min=0) @ high.mT) + (q.clamp(max=0) @ low.mT)
        mask = largest(bound, max(1, round(self.density * bound.shape[-1])))
        return mask.repeat_interleave(self.page, -1)[..., : k.shape[1]]

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the bounds: two products for each page and dimension."""
        if product.part != Part.SCORES:
            return work
        pages = -(-work.columns // self.page)
        return charged(work, macs=2 * work.rows * pages * work.depth)


class Windowed(Rule):
    """A rule that looks at the scores of the last ``window`` queries of each head."""

    window = 1

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the last queries' scores."""
        if product.part != Part.SCORES:
            return work
        heads = work.rows // work.columns
        return charged(work, macs=heads * min(self.window, work.columns) * work.columns
                       * work.depth)


class SnapKv(Windowed):
    """The keys that the last ``window`` queries of a head attend to most, and the window's own.

    Votes are not pooled over neighbors. If ``adaptive``, the heads share one budget (Ada-SnapKV).
    There is no causal mask, and the last queries of an image are its last patches, which mean less
    than the question at the end of a prompt.
    """

    def __init__(self, record: Record, density: float, window: int, adaptive: int) -> None:
        super().__init__(record)
        self.density, self.window, self.adaptive = density, window, adaptive

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Keep the same keys for all queries of a head."""
        mass = probabilities(q[:, -self.window:], k, self.record.sharpness(layer)).sum(1)  # (H, T)
        mass[:, -self.window:] = inf
        count = max(1, round(self.density * k.shape[1]))
        kept = (largest(mass.flatten(), len(k) * count).view(mass.shape) if self.adaptive
                else largest(mass, count))
        return kept[:, None].expand(-1, q.shape[1], -1).contiguous()


class Shards(Rule):
    """Each head attends to a strided shard of the keys (S2), and to its own neighborhood.

    Key block ``b`` belongs to head ``b mod H``, so the union over heads is the whole context. Key
    0 belongs to all.
    """

    def __init__(self, record: Record, block: int, local: int) -> None:
        super().__init__(record)
        self.block, self.local = block, local

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Keep each head's shard."""
        heads, tokens = q.shape[0], q.shape[1]
        place = torch.arange(tokens)
        shard = (place // self.block) % heads == torch.arange(heads)[:, None]  # (H, T)
        shard[:, 0] = True
        near = (place[:, None] - place).abs() <= self.local
        return shard[:, None] | near


class DroppedTokens(Rule):
    """Tokens that get little attention leave the network, in some of the layers (EViT, LeMo).

    Block ``first`` and every ``every``-th behind it keep the share ``kept`` of the tokens of the
    block before that got most attention there from all tokens and heads (LeMo's informativeness);
    token 0 always. Those that left keep their values: EViT, which asks the class token alone,
    fuses them into one token.
    """

    blocks = True

    def __init__(self, record: Record, kept: float, first: int, every: int) -> None:
        super().__init__(record)
        self.kept, self.first, self.every = kept, first, every

    def start(self) -> None:
        """Begin with all tokens."""
        self.left: Tensor | None = None

    def alive(self, layer: int, x: Tensor, attended: Tensor | None) -> Tensor | None:
        """Drop the tokens with the least attention."""
        if attended is None or layer < self.first or (layer - self.first) % self.every:
            return self.left
        alive = torch.ones(attended.shape[-1], dtype=torch.bool) if self.left is None else self.left
        rows = attended.double() / attended.double().sum(-1, keepdim=True).clamp(min=1e-9)
        got = rows.sum((0, 1)).masked_fill(~alive, -1.0)
        got[0] = inf
        self.left = largest(got, max(1, round(self.kept * int(alive.sum()))))
        return self.left
