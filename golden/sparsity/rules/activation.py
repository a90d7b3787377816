"""Elements of an operand that are too small to matter."""

from torch import Tensor

from golden.sparsity.names import WITHIN_BLOCKS, part
from golden.sparsity.record import Record
from golden.sparsity.rule import Rule, Sent


class Relu(Rule):
    """Keep what is above a threshold behind the first layer of an MLP; ReLU is one of 0.

    What GELU leaves below zero is lost.
    """

    def __init__(self, record: Record, threshold: float = 0) -> None:
        super().__init__(record)
        self.threshold = threshold

    def send(self, name: str, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send hidden elements above the threshold."""
        return Sent(x > self.threshold) if part(name) == "fc2" else Sent()


class Teal(Rule):
    """Keep elements whose magnitude exceeds a quantile of their operand, in all linear layers.

    The thresholds are those of the recorded frames.
    """

    def __init__(self, record: Record, density: float) -> None:
        super().__init__(record)
        self.density = density
        self.thresholds: dict[str, float] = {}

    def threshold(self, name: str, x: Tensor) -> float:
        """Return the magnitude of which a share of ``density`` is above."""
        if name not in self.thresholds:
            seen = self.record.values(name) if name in self.record.products else x
            self.thresholds[name] = quantile(seen.abs(), 1 - self.density)
        return self.thresholds[name]

    def send(self, name: str, x: Tensor, weight: Tensor | None, tokens: Tensor) -> Sent:
        """Send what is above."""
        if part(name) not in WITHIN_BLOCKS or not len(x):
            return Sent()
        return Sent(x.abs() > self.threshold(name, x))


def quantile(values: Tensor, share: float) -> float:
    """Return the largest value of the lowest ``share``; below all values if that is none."""
    count = round(share * values.numel())
    if not count:
        return -1.0
    return float(values.double().flatten().kthvalue(count).values)


