"""Which dimensions or heads a token uses."""

import torch
from torch import Tensor

from deltamoe.golden.operators import Part
from deltamoe.golden.sparsity.names import Product
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rule import Rule, Sent, charged, largest
from deltamoe.golden.sparsity.work import Work


def energies(x: Tensor, groups: int) -> Tensor:
    """Return the energy (R, groups) of consecutive columns of ``x`` (R, K)."""
    return x.double().square().unflatten(-1, (groups, -1)).sum(-1)


def widened(chosen: Tensor, depth: int) -> Tensor:
    """Repeat a choice of groups (R, G) over their columns (R, depth)."""
    return chosen.repeat_interleave(depth // chosen.shape[-1], -1)


def divides(policy: str, groups: int, depth: int, width: str) -> None:
    """Raise ValueError unless the groups are of equal size."""
    if depth % groups:
        raise ValueError(f"policy {policy}: groups={groups} does not divide {width}={depth}")


class HiddenDimensions(Rule):
    """Groups of a token's dimensions (MoHD): some always, the best ``k`` others by block.

    They are rows of the layers that read the token and columns of those that write it. The router
    of a network trained without one is the energy of a group in the block's first operand. The
    kept dimensions are not scaled up, which is learned with the router.
    """

    blocks = True

    def __init__(self, record: Record, groups: int, shared: int, k: int) -> None:
        super().__init__(record)
        if record.config:
            divides("mohd", groups, record.config.embed_dim, "embed_dim")
        self.groups, self.shared, self.k = groups, shared, k
        self.chosen: Tensor | None = None

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Choose with the queries; then read or write what was chosen."""
        kind = product.part
        if kind == Part.Q:
            energy = energies(x, self.groups)
            energy[:, : self.shared] = torch.inf
            self.chosen = widened(largest(energy, self.shared + self.k), x.shape[-1])
        if kind in {Part.Q, Part.K, Part.V, Part.FC1}:
            return Sent(self.chosen[tokens])
        return Sent(computed=self.chosen[tokens]) if kind in {Part.PROJ, Part.FC2} else Sent()

    def charge(self, product: Product, work: Work) -> Work:
        """Charge a router of one output a group."""
        if product.part != Part.Q:
            return work
        return charged(work, macs=work.rows * work.depth * self.groups,
                       weights=work.depth * self.groups)


class RoutedHeads(Rule):
    """Attention heads as experts (JetMoE): a token uses the queries and outputs of ``k`` of them.

    Keys and values are shared by all tokens. The router of a network trained without one is the
    energy of a head's query. ModuleFormer's stick-breaking attention is not here.
    """

    blocks = True

    def __init__(self, record: Record, k: int) -> None:
        super().__init__(record)
        self.k = k
        self.heads = record.config.num_heads if record.config else 1

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Choose with the queries; read only chosen heads' outputs."""
        if product.part == Part.Q:
            queries = x.double() @ self.record.real(product).T + self.record.bias(product)
            self.chosen = largest(energies(queries, self.heads), self.k)        # (T, H)
            return Sent(computed=widened(self.chosen, len(weight)))
        return Sent(widened(self.chosen, x.shape[-1])) if product.part == Part.PROJ else Sent()

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Drop the queries that were not made."""
        return self.chosen.T[:, :, None].expand(-1, -1, k.shape[1]).contiguous()

    def charge(self, product: Product, work: Work) -> Work:
        """Charge a router of one output a head."""
        if product.part != Part.Q:
            return work
        return charged(work, macs=work.rows * work.depth * self.heads,
                       weights=work.depth * self.heads)


class HiddenGroups(Rule):
    """The groups of hidden units with the most energy behind the first layer of an MLP."""

    def __init__(self, record: Record, groups: int, k: int) -> None:
        super().__init__(record)
        self.groups, self.k = groups, k

    def send(self, product: Product, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send the best groups of a row."""
        if product.part != Part.FC2:
            return Sent()
        divides("hidden-groups", self.groups, x.shape[-1], f"the width of {product}")
        return Sent(widened(largest(energies(x, self.groups), self.k), x.shape[-1]))
