"""What becomes of the experts: merged, averaged, kept in a cache, or small ones added."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from deltamoe.golden.operators import Operator, Part, block, feed_forward
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Sent, charged, largest
from deltamoe.golden.sparsity.rules.routing import Routing
from deltamoe.golden.sparsity.work import Work


class Merged(Routing):
    """Experts around the most used ones become one each (M-SMoE).

    The dominant experts are those of all layers with the largest shares of their layers' tokens,
    ``groups`` for each layer on average and the most used one of each layer always, so layers
    end with different numbers of them. An expert joins the dominant one of its layer with the
    most similar logits; its hidden units are permuted
    to match (linear assignment on both layers' weights) and averaged by frequency of use. A token
    that chose several of a group runs it once, with the sum of their weights. Merged experts are
    neither fine-tuned nor compressed further, which is the second half of MC-SMoE.
    """

    def __init__(self, record: Record, groups: int) -> None:
        super().__init__(record)
        self.groups = groups
        self.leaders: dict[int, Tensor] = {}
        self.dominant = self.most_used()

    def most_used(self) -> dict[int, Tensor]:
        """Return by layer which experts (E,) are dominant."""
        layers = list(dict.fromkeys(layer for frame in self.record.frames
                                    for layer in frame.routes))
        if not layers:
            return {}
        usage = torch.stack([self.usage(layer).double() for layer in layers])     # (L, E)
        share = usage / usage.sum(-1, keepdim=True).clamp(min=1)
        share[largest(share, 1)] = torch.inf
        count = min(self.groups, self.experts) * len(layers)
        chosen = largest(share.flatten(), count).view(share.shape)
        return dict(zip(layers, chosen, strict=True))

    def leader(self, layer: int) -> Tensor:
        """Return the expert (E,) that each expert is merged into."""
        if layer not in self.leaders:
            dominant = self.dominant[layer]
            logits = torch.cat([frame.logits[layer] for frame in self.record.frames])
            unit = logits / logits.norm(dim=0).clamp(min=1e-9)
            alike = (unit.T @ unit).masked_fill(~dominant, -torch.inf)
            joined = alike.argmax(-1)
            self.leaders[layer] = torch.where(dominant, torch.arange(len(dominant)), joined)
        return self.leaders[layer]

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Add up the weights of the chosen members of each group."""
        weight = logits.softmax(-1) * largest(logits, self.top_k)
        return torch.zeros_like(weight).index_add(-1, self.leader(layer), weight)

    def existing(self, layer: int) -> Tensor:
        """Return one expert of each group."""
        return torch.isin(torch.arange(self.experts), self.leader(layer))

    def network(self, model: QuantizedModel) -> QuantizedModel:
        """Merge the experts of every layer."""
        tensors = dict(model.tensors)
        for number in range(model.config.num_layers):
            if model.config.is_moe(number):
                leader, usage = self.leader(number), self.usage(number).double() + 1e-9
                groups = [(leader == each).nonzero().flatten() for each in leader.unique()]
                tensors |= merged(model, number, [
                    (int(leader[group[0]]), group, usage[group] / usage[group].sum())
                    for group in groups])
        return replace(model, tensors=tensors)


def merged(model: QuantizedModel, layer: int, groups: list[tuple[int, Tensor, Tensor]]
           ) -> dict[str, Tensor]:
    """Return a layer's experts, the first of each group being the mean of its members.

    Codes times multipliers are real weights up to a common factor; the mean gets the largest
    multiplier of its members, so it never saturates.
    """
    zero = int(model[f"{block(layer)}.gelu"][0])
    parts = {operator: [model[f"{operator}.{kind}"].clone()
                        for kind in ("weight", "bias", "multiplier")]
             for operator in feed_forward(model.config, layer)}
    for leader, group, share in groups:
        order = aligned(parts, leader, group)
        for operator, (weight, bias, multiplier) in parts.items():
            scale = multiplier[group].double()                              # (G, N)
            folded = zero * (operator.part == Part.FC2)
            offset = bias[group] + folded * weight[group].long().sum(-1)
            real, base = weight[group] * scale[..., None], offset * scale
            if operator.part == Part.FC1:
                real = torch.stack([real[i][order[i]] for i in range(len(group))])
                base = torch.stack([base[i][order[i]] for i in range(len(group))])
                scale = torch.stack([scale[i][order[i]] for i in range(len(group))])
            else:
                real = torch.stack([real[i][:, order[i]] for i in range(len(group))])
            top = scale.amax(0)
            codes = ((share[:, None, None] * real).sum(0) / top[:, None]).round()
            mean = ((share[:, None] * base).sum(0) / top).round()
            weight[leader], multiplier[leader] = codes.to(torch.int8), top.to(torch.int32)
            bias[leader] = (mean - folded * codes.sum(-1)).to(torch.int32)
    return {f"{operator}.{kind}": tensor for operator, tensors in parts.items()
            for kind, tensor in zip(("weight", "bias", "multiplier"), tensors, strict=True)}


def aligned(parts: Mapping[Operator, list[Tensor]], leader: int, group: Tensor) -> list[Tensor]:
    """Return for each member the order of hidden units that matches the leader's best."""
    def units(index: int) -> Tensor:
        real = [weight[index] * multiplier[index].double()[:, None]
                for weight, _, multiplier in parts.values()]
        first, second = real[0], real[1].T
        return torch.cat([first / first.norm(), second / second.norm()], -1)

    target = units(leader)
    return [torch.as_tensor(linear_sum_assignment(-(target @ units(int(index)).T).numpy())[1])
            for index in group]


class Averaged(Routing):
    """All experts become one layer for all tokens (EWA), and the gate disappears.

    The weight is the mean of what the recorded gates gave, a constant that could be folded in.
    """

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Send every token to the average."""
        seen = torch.cat([frame.logits[layer] for frame in self.record.frames]).softmax(-1)
        mass = (seen * largest(seen, self.top_k)).sum(-1).mean()
        return torch.zeros_like(logits).index_fill(1, torch.tensor([0]), float(mass))

    def existing(self, layer: int) -> Tensor:
        """Return the first expert, which holds the average."""
        return torch.arange(self.experts) == 0

    def network(self, model: QuantizedModel) -> QuantizedModel:
        """Average the experts of every layer."""
        tensors, count = dict(model.tensors), model.config.num_experts
        share = torch.full((count,), 1 / count, dtype=torch.float64)
        for number in range(model.config.num_layers):
            if model.config.is_moe(number):
                tensors |= merged(model, number, [(0, torch.arange(count), share)])
        return replace(model, tensors=tensors)

    def finish(self, works: Mapping[Product, Work]) -> Mapping[Product, Work]:
        """Drop the gates."""
        return {product: work for product, work in works.items() if product.part != Part.GATE}


class Lora(Routing):
    """Low-rank experts beside each dense MLP layer, one of them for each token.

    Those of a network that was not trained with them are zero, so its results stay; a random
    router decides which one a token reads.
    """

    def __init__(self, record: Record, experts: int, rank: int) -> None:
        super().__init__(record)
        self.count, self.rank = experts, rank
        self.used = 0

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Count the experts that the tokens use; skip nothing."""
        if product.part == Part.FC1 and product.expert is None:
            generator = torch.Generator().manual_seed(product.layer)
            router = torch.randn(x.shape[-1], self.count, generator=generator,
                                 dtype=torch.float64)
            self.used = len((x.double() @ router).argmax(-1).unique())
        return Sent()

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the low-rank products, and with the first layer the router."""
        if product.part not in {Part.FC1, Part.FC2} or product.expert is not None:
            return work
        pair = self.rank * (work.depth + work.columns)
        router = work.depth * self.count if product.part == Part.FC1 else 0
        return charged(work, macs=work.rows * (pair + router),
                       weights=self.used * pair + router)


class Cached(Routing):
    """Experts stay on the chip: the last recently used makes room.

    Tokens come in segments, and a segment reads each of its experts at most once, those in the
    cache first. The cache outlives the frame. Routing is the network's own. The paper's cache looks
    ahead (:func:`deltamoe.golden.sparsity.metrics.cache_hits`).
    """

    def __init__(self, record: Record, size: int, segment: int) -> None:
        super().__init__(record)
        self.size, self.segment = size, segment
        self.caches: dict[int, OrderedDict[int, None]] = {}
        self.loads: dict[int, list[int]] = {}

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose as the network does, and count what is not in the cache."""
        chosen = largest(logits, self.top_k)
        cache = self.caches.setdefault(layer, OrderedDict())
        loads = [0] * logits.shape[-1]
        for segment in chosen.split(self.segment or len(chosen)):
            needed = segment.any(0).nonzero().flatten().tolist()
            for index in sorted(needed, key=lambda each: each not in cache):
                loads[index] += index not in cache
                cache[index] = None
                cache.move_to_end(index)
                if len(cache) > self.size:
                    cache.popitem(last=False)
        self.loads[layer] = loads
        return chosen

    def charge(self, product: Product, work: Work) -> Work:
        """Read an expert as often as the cache missed it."""
        if product.expert is None:
            return work
        return charged(work, reload=self.loads[product.layer][product.expert])
