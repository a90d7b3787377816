"""Which experts a token uses."""

from torch import Tensor

from golden.sparsity.record import Record
from golden.sparsity.rule import Rule
from golden.sparsity.rules.weights import largest


class TopK(Rule):
    """The experts with the ``k`` largest logits."""

    def __init__(self, record: Record, k: int) -> None:
        super().__init__(record)
        self.k = k

    def route(self, layer: int, h: Tensor, logits: Tensor) -> Tensor:
        """Choose by logit."""
        return largest(logits, self.k)
