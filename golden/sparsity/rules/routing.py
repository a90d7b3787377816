"""Which experts a token uses, one token at a time."""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from golden.sparsity.names import expert, layer, part
from golden.sparsity.record import Record
from golden.sparsity.rule import Rule, Sent, charged, largest
from golden.sparsity.work import Work


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


class DenseToSparse(Routing):
    """All experts whose weight ``softmax(logits / temperature)`` exceeds a threshold.

    The best expert always stays. A low temperature leaves few.
    """

    def __init__(self, record: Record, temperature: float, threshold: float) -> None:
        super().__init__(record)
        self.temperature, self.threshold = temperature, threshold

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by weight."""
        weight = (logits / self.temperature).softmax(-1)
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
        made = (h.double() / h.double().std().clamp(min=1e-9)) @ router / depth**0.5
        chosen = largest(made, self.k)
        return made.masked_fill(~chosen, -torch.inf).softmax(-1)


class Thor(Routing):
    """One expert for each layer and input, drawn uniformly; there is no gate."""

    def __init__(self, record: Record, seed: int) -> None:
        super().__init__(record)
        self.generator = torch.Generator().manual_seed(seed)

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Draw an expert for all tokens."""
        drawn = torch.randint(logits.shape[-1], (1,), generator=self.generator)
        return torch.zeros_like(logits).index_fill(1, drawn, 1.0)

    def finish(self, works: Mapping[str, Work]) -> Mapping[str, Work]:
        """Drop the gates."""
        return {name: work for name, work in works.items() if part(name) != "gate"}


class TaskSet(Routing):
    """A task's experts, known before the frame: those that it used most on the recorded frames."""

    def __init__(self, record: Record, experts: int) -> None:
        super().__init__(record)
        self.count = experts

    def allowed(self, layer: int) -> Tensor:
        """Return the most used experts."""
        return largest(self.usage(layer).double(), self.count)

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by logit, among the allowed."""
        return largest(logits, min(self.top_k, self.count))


class Pruned(TaskSet):
    """Only the most used experts remain in the network, in its gates too."""

    def charge(self, name: str, work: Work) -> Work:
        """Shorten the gate to the experts that are left, two planes each."""
        if part(name) != "gate":
            return work
        columns = 2 * min(self.count, self.experts)
        return Work(rows=work.rows, depth=work.depth, columns=columns,
                    weight_bytes=work.depth * columns)


class Switched(Routing):
    """Named experts are off, or on for every token; both are bit masks of expert numbers."""

    def __init__(self, record: Record, off: int, on: int) -> None:
        super().__init__(record)
        if off & on:
            raise ValueError(f"policy mote: off={off} and on={on} share experts")
        self.off, self.on = ((torch.tensor(bits) >> torch.arange(self.experts)) & 1 != 0
                             for bits in (off, on))
        if self.experts and self.off.all():
            raise ValueError(f"policy mote: off={off} leaves none of {self.experts} experts")

    def allowed(self, layer: int) -> Tensor:
        """Return those that are not off."""
        return ~self.off

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose those forced on, then by logit."""
        count = min(max(self.top_k, int(self.on.sum())), int((~self.off).sum()))
        return largest(logits.masked_fill(self.on, torch.inf), count)


class BlockFfn(Routing):
    """Experts whose logit is positive, weighted by ``RMSNorm(ReLU(logits))``.

    Weights are read once for each chunk of tokens that needs them, so the union over a chunk
    decides: chunk-level sparsity. A chunk of 0 is the frame.
    """

    def __init__(self, record: Record, chunk: int) -> None:
        super().__init__(record)
        self.chunk = chunk
        self.member: dict[int, Tensor] = {}

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by sign."""
        a = logits.clamp(min=0)
        self.member[layer] = a != 0
        return a / a.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-9)

    def charge(self, name: str, work: Work) -> Work:
        """Read an expert once for each chunk."""
        if expert(name) is None:
            return work
        tokens = self.member[layer(name)][:, expert(name)]
        loads = sum(bool(chunk.any()) for chunk in tokens.split(self.chunk or len(tokens)))
        return charged(work, reload=loads)


class SparseExperts(Routing):
    """The experts expected to activate least, with ReLU inside: hidden units as normal variables.

    ``P(unit > 0) = Phi(mean / deviation)``, both over an expert's units and linear in the moments
    of its weights, so each expert costs two products of the depth.
    """

    def __init__(self, record: Record, k: int) -> None:
        super().__init__(record)
        self.k = k

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose the experts with the lowest expected activity."""
        h = h.double()
        active = []
        for index in range(self.experts):
            name = f"blocks.{layer}.experts.{index}.fc1"
            weight, bias = self.record.real(name), self.record.bias(name)
            mean = h @ weight.mean(0) + bias.mean()
            spread = h.square() @ weight.var(0, unbiased=False) + bias.var(unbiased=False)
            active.append(mean / spread.sqrt().clamp(min=1e-9))
        return largest(-torch.stack(active, -1), self.k)

    def send(self, name: str, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send hidden units of experts that fire."""
        return Sent(x > 0) if expert(name) is not None and part(name) == "fc2" else Sent()

    def charge(self, name: str, work: Work) -> Work:
        """Charge the estimate, beside the gate whose weights are used."""
        if part(name) != "gate":
            return work
        return charged(work, macs=2 * work.rows * work.depth * self.experts,
                       weights=2 * work.depth * self.experts)


class ProductKeys(Routing):
    """Expert ``(i, j)`` scores ``row_i + column_j``; both lists are cut to ``k``, then their sums.

    The lists are the least-squares fit of the network's logits: means of the rows and columns of
    a square of experts. The gate has ``2 sqrt(E)`` keys of half the depth instead of ``E``.
    """

    def __init__(self, record: Record, k: int) -> None:
        super().__init__(record)
        self.k, self.side = k, isqrt(self.experts)
        if self.side**2 != self.experts:
            raise ValueError(f"policy product-keys: {self.experts} experts are no square")

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose from the best rows and columns."""
        grid = logits.unflatten(-1, (self.side, self.side))
        row, column = grid.mean(-1), grid.mean(-2)
        near = largest(row, self.k)[:, :, None] & largest(column, self.k)[:, None]
        score = (row[:, :, None] + column[:, None]).masked_fill(~near, -torch.inf)
        return largest(score.flatten(1), self.k) & near.flatten(1)

    def charge(self, name: str, work: Work) -> Work:
        """Shorten the gate: both planes of half the depth for twice the side."""
        if part(name) != "gate":
            return work
        return Work(rows=work.rows, depth=work.depth, columns=2 * self.side,
                    weight_bytes=2 * self.side * work.depth)
