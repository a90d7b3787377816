"""Elements of an operand chosen by what they add to the result."""

import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product, prunable
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Rule, Sent, charged, largest
from deltamoe.golden.sparsity.rules.activation import Chosen, Thresholds, quantile
from deltamoe.golden.sparsity.work import Work


def lengths(weight: Tensor) -> Tensor:
    """Return the length of each column (K,) of weights (N, K)."""
    return weight.double().norm(dim=0)


class Wina(Rule):
    """The elements with the largest ``|x_j| * |W_:,j|``, as many for each token."""

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record)
        self.density = density

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send the elements that add most."""
        if not prunable(product) or not len(x):
            return Sent()
        count = max(1, round(self.density * x.shape[-1]))
        return Sent(largest(x.double().abs() * lengths(self.record.real(product)), count))

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the products with the lengths, a byte each."""
        if not prunable(product):
            return work
        return charged(work, macs=work.rows * work.depth, weights=work.depth)


class RSparse(Thresholds):
    """Elements above a quantile exactly, the others through the leading singular directions.

    ``y = W x_large + U S V^T x_small``, large being ``|x_j| * s_j > t``; ``s_j`` is the length of
    column ``j`` of the weights, so channels have thresholds. The low-rank part always runs. Inside
    the integer network it enters as ``V V^T x_small`` rounded to codes.
    """

    def __init__(self, record: Record, density: float, rank: int) -> None:
        super().__init__(record, density)
        self.rank = rank
        self.bases: dict[Product, Tensor] = {}

    def cut(self, product: Product, x: Tensor) -> Tensor:
        """Return the threshold of each column."""
        scale = lengths(self.record.real(product)).clamp(min=1e-9)
        return quantile((self.seen(product, x).abs() * scale).flatten(), 1 - self.density) / scale

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send what is above, and the rest by the low rank."""
        sent = super().send(product, x, weight, tokens)
        if sent.events is None:
            return sent
        if product not in self.bases:
            basis = torch.linalg.svd(self.record.real(product), full_matrices=False)[2]
            self.bases[product] = basis[: self.rank]                         # (rank, K)
        small = x.double() * ~sent.events
        low = (small @ self.bases[product].T) @ self.bases[product]
        return sent._replace(value=(x * sent.events + low.round()).to(x.dtype))

    def charge(self, product: Product, work: Work) -> Work:
        """Charge both low-rank products, and a threshold a channel."""
        if not prunable(product):
            return work
        pair = min(self.rank, work.depth, work.columns) * (work.depth + work.columns)
        return charged(work, macs=work.rows * pair, weights=pair + work.depth)


class CoreInfer(Rule):
    """A fixed set of hidden units, chosen on the first frame, which runs densely.

    Of each token the largest ``token`` share of its positive hidden elements are its core; the
    ``kept`` share of the units that are core most often run in later frames, the others not.
    """

    def __init__(self, record: Record, token: float, kept: float) -> None:
        super().__init__(record)
        self.token, self.kept = token, kept
        self.counts: dict[Product, Tensor] = {}
        self.cores: dict[Product, Tensor] | None = None

    def start(self) -> None:
        """Fix the sets behind the first frame."""
        if self.counts and self.cores is None:
            self.cores = {product: largest(count, max(1, round(self.kept * len(count))))
                          for product, count in self.counts.items()}

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Count on the first frame; then compute and send the core units only."""
        kind = product.part
        if self.cores is None:
            if kind == Part.FC2 and len(x):
                positive = x.clamp(min=0).double()
                counts = (self.token * (positive > 0).sum(-1)).ceil()
                rank = positive.argsort(dim=-1, descending=True, stable=True).argsort(-1)
                self.counts[product] = (rank < counts[:, None]).sum(0).double()
            return Sent()
        core = self.cores.get(product.beside(Part.FC2))
        if kind not in {Part.FC1, Part.FC2} or core is None:
            return Sent()
        mask = core.expand(len(x), -1).contiguous()
        return Sent(mask) if kind == Part.FC2 else Sent(computed=mask)

    def foreseen(self, product: Product) -> bool:
        """Return whether the sets are fixed."""
        return self.cores is not None


class ErrorBudget(Rule):
    """The highest threshold on ``|x_i| * |W_:,i|`` of hidden units that keeps the error in budget.

    CETT: the mean over recorded tokens of ``|sum of what is cut| / |sum of all|``. The budget is
    given; the sparsing law searches for the one that changes perplexity by p % (PPL-p%).
    """

    def __init__(self, record: Record, budget: float) -> None:
        super().__init__(record)
        self.budget = budget
        self.cuts: dict[Product, float] = {}

    def error(self, x: Tensor, weight: Tensor, cut: float) -> float:
        """Return the cumulative error of tail truncation, relative, of rows ``x`` (R, F)."""
        tail = x * (x.abs() * lengths(weight) <= cut)
        whole = (x @ weight.T).norm(dim=-1).clamp(min=1e-9)
        return float(((tail @ weight.T).norm(dim=-1) / whole).mean())

    def cut(self, x: Tensor, weight: Tensor) -> float:
        """Return the threshold; the error grows with it, up to cancellations."""
        levels = (x.abs() * lengths(weight)).flatten().unique()
        low, high = -1, len(levels) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.error(x, weight, float(levels[middle])) <= self.budget:
                low = middle
            else:
                high = middle - 1
        return float(levels[low]) if low >= 0 else -1.0

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send hidden elements above the threshold."""
        if product.part != Part.FC2 or not len(x):
            return Sent()
        if product not in self.cuts:
            seen = self.record.values(product) if product in self.record.products else x.double()
            self.cuts[product] = self.cut(seen, self.record.real(product))
        return Sent(x.double().abs() * lengths(self.record.real(product)) > self.cuts[product])

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the threshold of each hidden unit, ``cut / |W_:,i|``."""
        return charged(work, weights=work.depth) if product.part == Part.FC2 else work


class MatchingPursuit(Chosen):
    """Hidden units one after the other, each with the coefficient that best fits what is left.

    The target is the second layer's dense result, so what decides costs a dense product and, for
    each unit, a row of the Gram matrix of the weights. The second layer's columns stand for a
    trained dictionary, and the number of steps is fixed, where a residual could end them.
    """

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send the units picked, with their coefficients."""
        if product.part != Part.FC2 or not len(x):
            return Sent()
        real = self.record.real(product)
        gram = real.T @ real                                                 # (F, F)
        energy = gram.diagonal().clamp(min=1e-9)
        fit = x.double() @ gram                                              # (R, F)
        value, rows = torch.zeros_like(fit), torch.arange(len(x))
        for _ in range(self.count(x.shape[-1])):
            best = (fit.square() / energy).argmax(-1)
            step = fit[rows, best] / energy[best]
            value[rows, best] += step
            fit -= step[:, None] * gram[best]
        low, high = x.min(), x.max()
        value = value.round().clamp(low, high).to(x.dtype)
        return Sent(value != 0, value=value)

    def charge(self, product: Product, work: Work) -> Work:
        """Charge the fit and the steps; the Gram matrix is read as int8."""
        if product.part != Part.FC2:
            return work
        steps = self.count(work.depth)
        return charged(work, macs=work.rows * work.depth * (work.columns + steps),
                       weights=work.depth * (work.depth + work.columns))


class Alive(Rule):
    """ReLU with a floor under each hidden unit's activity (AP): what fires too rarely fires more.

    Each unit's threshold is 0 or, if that leaves fewer than the share ``alive`` of the recorded
    tokens, lower, so density goes up. AP itself activates units while a network is pruned and
    trained; these thresholds at inference are not its own.
    """

    def __init__(self, record: Record, alive: float) -> None:
        super().__init__(record)
        self.least = alive
        self.cuts: dict[Product, Tensor] = {}

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send hidden elements above their unit's threshold."""
        if product.part != Part.FC2 or not len(x):
            return Sent()
        if product not in self.cuts:
            seen = self.record.values(product) if product in self.record.products else x.double()
            cut = quantile(seen, 1 - self.least)
            if round((1 - self.least) * len(seen)) == 0:
                cut = torch.full_like(cut, -torch.inf)
            self.cuts[product] = cut.clamp(max=0)
        return Sent(x > self.cuts[product])
