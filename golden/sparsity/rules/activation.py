"""Elements of an operand that are too small to matter, by threshold."""

from dataclasses import replace

import torch
from torch import Tensor

from deltamoe.golden.operators import Part, operators
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.sparsity.names import Product, prunable
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Rule, Sent, largest
from deltamoe.golden.temporal.policy import Choice, Plan, Policy

LEVELS = 20
"""Steps of density in which a greedy budget is spent."""

SAMPLE = 64
"""Recorded rows of a product on which its errors are measured."""


class Table(Rule):
    """A rule that a layer's activation table can hold: what it drops becomes the code of zero."""

    def kept(self, number: int, values: Tensor) -> Tensor:
        """Return which results of the activation of a layer stay, with zero at 0."""
        raise NotImplementedError

    def executed(self, model: QuantizedModel) -> tuple[QuantizedModel, Plan]:
        """Rewrite the tables; skip zeros behind them."""
        tensors = dict(model.tensors)
        for number in range(model.config.num_layers):
            table = model[f"blocks.{number}.gelu"]
            kept = self.kept(number, table.long() - int(table[0]))
            tensors[f"blocks.{number}.gelu"] = torch.where(kept, table, table[0])
        skipping = {operator: Choice(Policy.ZERO_SKIP) for operator in operators(model.config)
                    if operator.part == Part.FC2}
        return replace(model, tensors=tensors), Plan(Choice(Policy.DENSE), skipping)


class Relu(Table):
    """Keep what is above a threshold behind the first layer of an MLP; ReLU is one of 0.

    What GELU leaves below zero is lost. All layers have one threshold, where ProSparse has each
    its own and trains with it.
    """

    def __init__(self, record: Record, threshold: int = 0) -> None:
        super().__init__(record)
        self.threshold = threshold

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send hidden elements above the threshold."""
        return Sent(self.kept(product.layer, x)) if product.part == Part.FC2 else Sent()

    def kept(self, number: int, values: Tensor) -> Tensor:
        """Return what is above the threshold."""
        return values > self.threshold


class Thresholds(Rule):
    """Magnitudes of codes above a quantile, which is that of the recorded frames.

    Channels behind a normalization have scales of their own, so their codes are not their values.

    An expert that no recorded token chose takes its own first rows. ``parts`` are the products
    that it is for, None for all layers.
    """

    parts: tuple[Part, ...] | None = None

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record)
        self.density = density
        self.cuts: dict[Product, Tensor] = {}

    def seen(self, product: Product, x: Tensor) -> Tensor:
        """Return the recorded operands (R, K) of a product."""
        return self.record.values(product) if product in self.record.products else x.double()

    def cut(self, product: Product, x: Tensor) -> Tensor:
        """Return the threshold, or one for each column."""
        return quantile(self.seen(product, x).abs().flatten(), 1 - self.density)

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send what is above."""
        mine = prunable(product) if self.parts is None else product.part in self.parts
        if not mine or not len(x):
            return Sent()
        if product not in self.cuts:
            self.cuts[product] = self.cut(product, x)
        return Sent(x.abs() > self.cuts[product])


def quantile(values: Tensor, share: float) -> Tensor:
    """Return the largest of the lowest ``share`` of values (R, ...); -1 if that is none of them."""
    count = round(share * len(values))
    if not count:
        return torch.full(values.shape[1:], -1.0, dtype=torch.float64)
    return values.double().sort(0).values[count - 1]


class HiddenThresholds(Thresholds):
    """Hidden units of which the activation's magnitude exceeds the layer's quantile.

    Here the activation behind the first layer; that layer decides, so it runs densely. The
    experts of a layer have one threshold.
    """

    parts = (Part.FC2,)

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record, density)
        self.layers: dict[int, Tensor] = {}

    def cut(self, product: Product, x: Tensor) -> Tensor:
        """Return the layer's threshold, another product's own quantile."""
        if product.part != Part.FC2:
            return super().cut(product, x)
        return self.layer_cut(product.layer)

    def layer_cut(self, number: int) -> Tensor:
        """Return the quantile of a layer's recorded hidden elements."""
        if number not in self.layers:
            seen = torch.cat([self.record.values(product).abs().flatten()
                              for product in self.record.products
                              if product.part == Part.FC2 and product.layer == number])
            self.layers[number] = quantile(seen, 1 - self.density)
        return self.layers[number]


class Cats(HiddenThresholds, Table):
    """Hidden units above the layer's threshold.

    In a network with gated MLPs the operand is ``act(gate) * up``, and the threshold cuts that;
    CATS cuts ``act(gate)`` before the product, and so saves the columns of ``up`` too.
    """

    def kept(self, number: int, values: Tensor) -> Tensor:
        """Return what is above the layer's threshold."""
        return values.abs() > self.layer_cut(number)


class Chess(HiddenThresholds):
    """Hidden units by importance, and what the attention's first and last layers read.

    A hidden unit's importance is ``|act(gate)_j| * mean|up_j|``; the layer has one threshold ``t``
    on it, the quantile of the recorded ones, which makes ``t / mean|up_j|`` of channel ``j``. The
    MLPs here have no ``up``, so its mean is 1 and all channels share the threshold of CATS. The
    operands of the queries and of the output projection have a quantile each; keys and values
    stay dense (arXiv 2409.01366). In a network with gated MLPs the threshold cuts
    ``act(gate) * up``, as in :class:`Cats`.
    """

    parts = (Part.Q, Part.PROJ, Part.FC2)


class Teal(Thresholds):
    """Magnitudes above a quantile in all linear layers of the blocks.

    With a greedy budget, the layers of a block share its density: again and again the one loses a
    step that adds least to its relative output error, each step being the same work.
    """

    def __init__(self, record: Record, density: float, greedy: int) -> None:
        super().__init__(record, density)
        self.greedy = greedy
        self.budgets: dict[int, dict[Product, float]] = {}

    def cut(self, product: Product, x: Tensor) -> Tensor:
        """Return the quantile of the layer's own share."""
        share = self.density
        if self.greedy and product in self.record.products:
            number = product.layer
            if number not in self.budgets:
                self.budgets[number] = self.budget(number)
            share = self.budgets[number][product]
        return quantile(self.seen(product, x).abs().flatten(), 1 - share)

    def budget(self, number: int) -> dict[Product, float]:
        """Return the density of each product of a block."""
        products = [product for product in self.record.products
                    if product.layer == number and prunable(product)]
        work = {product: len(self.record.values(product)) * self.record.weights[product].numel()
                for product in products}
        total = sum(work.values())
        share, remaining = dict.fromkeys(products, 1.0), total * (1 - self.density)
        now, after = dict.fromkeys(products, 0.0), {}
        while remaining > 1e-9 * total:
            step = min(remaining, total / LEVELS / len(products))
            for product in products:
                if product not in after:
                    left_of = max(0.0, share[product] - step / work[product])
                    after[product] = self.error(product, left_of)
            best = min((product for product in products if share[product] > 0),
                       key=lambda product: after[product] - now[product])
            spent = min(step, share[best] * work[best])
            share[best] = max(0.0, share[best] - spent / work[best])
            remaining -= spent
            now[best] = after.pop(best)
        return share

    def error(self, product: Product, share: float) -> float:
        """Return the relative output error of a product at a density."""
        x, weight = self.record.values(product), self.record.real(product)
        lost = x.abs() <= quantile(x.abs().flatten(), 1 - share)
        rows = slice(None, None, max(1, len(x) // SAMPLE))
        whole = (x[rows] @ weight.T).square().sum().clamp(min=1e-9)
        return float(((x * lost)[rows] @ weight.T).square().sum() / whole)


class Chosen(Rule):
    """The largest elements of the hidden layer, as many for each token (TopK autoencoders)."""

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record)
        self.density = density

    def count(self, elements: int) -> int:
        """Return how many of so many stay, at least one."""
        return max(1, round(self.density * elements))

    def keep(self, score: Tensor) -> Tensor:
        """Choose in each row of (R, F)."""
        return largest(score, self.count(score.shape[-1]))

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send the chosen hidden elements."""
        return Sent(self.keep(x.abs())) if product.part == Part.FC2 and len(x) else Sent()


class FeatureChoice(Chosen):
    """As many tokens for each hidden unit."""

    def keep(self, score: Tensor) -> Tensor:
        """Choose in each column."""
        return super().keep(score.T).T.contiguous()


class MutualChoice(Chosen):
    """The largest of all tokens and units together."""

    def keep(self, score: Tensor) -> Tensor:
        """Choose from all."""
        return super().keep(score.flatten()).view(score.shape)
