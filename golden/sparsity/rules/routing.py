"""Which experts a token uses, one token at a time."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from deltamoe.golden.operators import EVERY, Part
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Rule, largest
from deltamoe.golden.sparsity.work import Work
from deltamoe.golden.temporal.policy import Choice, Plan, Policy

DENSE = Plan(Choice(Policy.DENSE))


class Routing(Rule):
    """A rule with the layers' experts at hand."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        logits = [each for frame in record.frames for each in frame.logits.values()]
        routes = [each for frame in record.frames for each in frame.routes.values()]
        self.experts = logits[0].shape[-1] if logits else 0
        self.top_k = routes[0].shape[-1] if routes else 0

    def usage(self, layer: int) -> Tensor:
        """Return how many recorded tokens chose each expert (E,)."""
        routes = [frame.routes[layer].flatten() for frame in self.record.frames]
        return torch.bincount(torch.cat(routes), minlength=self.experts)


class TopK(Routing):
    """The experts with the ``k`` largest logits."""

    def __init__(self, record: Record, k: int) -> None:
        super().__init__(record)
        self.k = k

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by logit."""
        return largest(logits, self.k)

    def executed(self, model: QuantizedModel) -> tuple[QuantizedModel, Plan]:
        """Return a network of another ``top_k``."""
        count = min(self.k, model.config.num_experts)
        return replace(model, config=replace(model.config, top_k=count)), DENSE


class DenseToSparse(Routing):
    """All experts whose weight ``softmax(act(logits) / temperature)`` exceeds a threshold.

    ``act`` is a sigmoid or nothing. The best expert always stays. A low temperature leaves few.
    """

    def __init__(self, record: Record, temperature: float, threshold: float, act: int) -> None:
        super().__init__(record)
        self.temperature, self.threshold, self.act = temperature, threshold, act

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by weight."""
        weight = ((logits.sigmoid() if self.act else logits) / self.temperature).softmax(-1)
        return weight * ((weight > self.threshold) | largest(weight, 1))


class RandomRouter(Routing):
    """The ``k`` best experts of a frozen random router; weights are the softmax over them."""

    def __init__(self, record: Record, k: int, seed: int) -> None:
        super().__init__(record)
        self.k, self.seed = k, seed

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by random projection, of unit variance for a row of unit deviation."""
        depth = h.shape[-1]
        generator = torch.Generator().manual_seed(self.seed + layer)
        router = torch.randn(depth, logits.shape[-1], generator=generator, dtype=torch.float64)
        scores = (h.double() / h.double().std().clamp(min=1e-9)) @ router / depth**0.5
        chosen = largest(scores, self.k)
        return scores.masked_fill(~chosen, -torch.inf).softmax(-1)


class Thor(Routing):
    """One expert for each layer and input, drawn uniformly; there is no gate."""

    def __init__(self, record: Record, seed: int) -> None:
        super().__init__(record)
        self.generator = torch.Generator().manual_seed(seed)

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Draw an expert for all tokens."""
        self.drawn = torch.randint(logits.shape[-1], (1,), generator=self.generator)
        return torch.zeros_like(logits).index_fill(1, self.drawn, 1.0)

    def existing(self, layer: int) -> Tensor:
        """Return the expert just drawn, which is drawn before the frame."""
        return torch.arange(self.experts) == self.drawn

    def finish(self, works: Mapping[Product, Work]) -> Mapping[Product, Work]:
        """Drop the gates."""
        return {product: work for product, work in works.items() if product.part != Part.GATE}


class MostUsed(Routing):
    """A rule that keeps the experts that the task used most on the recorded frames."""

    def __init__(self, record: Record, experts: int) -> None:
        super().__init__(record)
        self.count = experts

    def allowed(self, layer: int) -> Tensor:
        """Return the most used experts."""
        return largest(self.usage(layer).double(), self.count)


class TaskSet(MostUsed):
    """A task's experts, known before the frame: every token runs all, and there is no gate.

    The result is the mean of theirs, as of SkillNet's active skills (arXiv 2203.03312). For
    skills that people name for a task stand the experts that it used most.
    """

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Weigh the experts of the set alike."""
        chosen = self.allowed(layer)
        return (chosen / chosen.sum()).to(logits.dtype).expand(len(logits), -1).contiguous()

    def finish(self, works: Mapping[Product, Work]) -> Mapping[Product, Work]:
        """Drop the gates."""
        return {product: work for product, work in works.items() if product.part != Part.GATE}


class Pruned(MostUsed):
    """Only the most used experts remain in the network, in its gates too.

    All leave at once, where the authors drop them while they fine-tune (arXiv 2206.00277).
    """

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by logit, among the allowed."""
        return largest(logits, min(self.top_k, self.count))

    def executed(self, model: QuantizedModel) -> tuple[QuantizedModel, Plan]:
        """Return a smaller network, the experts in their old order."""
        tensors = dict(model.tensors)
        for name, (_, _, kind, operator) in tensor_formats(model.config).items():
            if operator and tensors[name].dim() and (
                    operator.expert is EVERY or operator.part == Part.GATE):
                remaining = self.allowed(operator.layer)
                tensors[name] = tensors[name][..., remaining] if kind == "usage" else (
                    tensors[name][remaining])
        count = min(self.count, model.config.num_experts)
        config = replace(model.config, num_experts=count, top_k=min(model.config.top_k, count))
        return replace(model, config=config, tensors=tensors), DENSE

    def charge(self, product: Product, work: Work) -> Work:
        """Shorten the gate to the experts that are left, two planes each."""
        if product.part != Part.GATE:
            return work
        columns = 2 * min(self.count, self.experts)
        return Work(rows=work.rows, depth=work.depth, columns=columns,
                    weight_bytes=work.depth * columns)


class Switched(Routing):
    """Named experts of named layers are off, or on for every token; all three are bit masks.

    Bit ``e`` of ``without`` and of ``always`` is expert ``e``, bit ``i`` of ``layers`` is block
    ``i``, and ``layers`` of 0 is all blocks. Layers that are not named keep their routing.
    """

    def __init__(self, record: Record, without: int, always: int, layers: int) -> None:
        super().__init__(record)
        self.layers = layers
        if without & always:
            raise ValueError(f"policy mote: without={without} and always={always} "
                             "share experts")
        self.off, self.on = ((torch.tensor(bits) >> torch.arange(self.experts)) & 1 != 0
                             for bits in (without, always))
        if self.experts and self.off.all():
            raise ValueError(f"policy mote: without={without} leaves none of {self.experts} "
                             "experts")

    def allowed(self, layer: int) -> Tensor | None:
        """Return those that are not off."""
        return ~self.off if self.named(layer) else None

    def named(self, layer: int) -> bool:
        """Whether the masks are for a layer."""
        return not self.layers or bool(self.layers >> layer & 1)

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose those forced on, then by logit."""
        if not self.named(layer):
            return largest(logits, self.top_k)
        count = min(max(self.top_k, int(self.on.sum())), int((~self.off).sum()))
        return largest(logits.masked_fill(self.on, torch.inf), count)
