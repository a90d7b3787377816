"""Which keys a query attends to."""

import torch
from torch import Tensor

from golden.sparsity.names import part
from golden.sparsity.record import Record
from golden.sparsity.rule import Rule, charged
from golden.sparsity.rules.weights import largest
from golden.sparsity.work import Work


class TopPairs(Rule):
    """The keys with the largest scores of each query, by a low-rank predictor.

    The predictor sees the leading ``rank`` singular directions of queries and keys. The class
    token attends to all.
    """

    def __init__(self, record: Record, density: float, rank: int) -> None:
        super().__init__(record)
        self.density, self.rank = density, rank

    def pairs(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """Keep the best keys of each query."""
        q, k = q.double(), k.double()
        _, _, basis = torch.linalg.svd(torch.cat([q, k], -2), full_matrices=False)
        basis = basis[:, : self.rank].mT                                     # (H, Dh, rank)
        mask = largest((q @ basis) @ (k @ basis).mT, max(1, round(self.density * q.shape[1])))
        mask[:, 0] = True
        return mask

    def charge(self, name: str, work: Work) -> Work:
        """Charge both projections and the low-rank product."""
        if part(name) != "scores":
            return work
        rank = min(self.rank, work.depth)
        return charged(work, macs=work.rows * rank * (2 * work.depth + work.columns),
                       weights=work.depth * rank)
