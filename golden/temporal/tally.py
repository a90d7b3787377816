"""What sequences cost a network and what they lose by it, in integers: counts that add up."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.operators import Part
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.temporal.density import columns
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.golden.training.train import labels_of


@dataclass(frozen=True)
class Tally:
    """Counts over frames behind the first of a sequence.

    Attributes
    ----------
    frames, right : int
        Frames, and those whose class was found.
    events, attention_events : int
        Elements that were sent, and those of them that attention's two products always recompute.
    macs, dense_macs : int
        Multiplications that the events cause, and those of dense inference.
    signal, noise : int
        Squares of dense inference's tokens, and of the differences from them.
    """

    frames: int = 0
    right: int = 0
    events: int = 0
    attention_events: int = 0
    macs: int = 0
    dense_macs: int = 0
    signal: int = 0
    noise: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def accuracy(self) -> float:
        """Share of the frames."""
        return self.right / self.frames

    @property
    def density(self) -> float:
        """Share of the multiplications."""
        return self.macs / self.dense_macs

    @property
    def sqnr_db(self) -> float | None:
        """Tokens against dense inference; None if no bit differs."""
        return float(10 * torch.tensor(self.signal / self.noise).log10()) if self.noise else None


def one_thread() -> None:
    """Leave the other processors to other processes; the operands are small."""
    torch.set_num_threads(1)


def count(model: QuantizedModel, trace: Trace, dense: Trace, labels: Tensor) -> Tally:
    """Count one frame of each sequence, ``labels`` (N,)."""
    sent = {product: int(mask.sum()) for product, mask in trace.sent.items()}
    cost = {product: columns(product, model.config) for product in sent}
    return Tally(
        len(labels), int((trace.scores.argmax(-1) == labels).sum()), sum(sent.values()),
        sum(events for product, events in sent.items() if product.whole.part == Part.ATTENTION),
        sum(events * cost[product] for product, events in sent.items()),
        sum(a.numel() * cost[product] for product, a in trace.operands.items()),
        int(dense.x.square().sum()), int((trace.x - dense.x).square().sum()))


def tally(model: QuantizedModel, shown: Tensor, digit: Tensor, task: int, thetas: Sequence[int]
          ) -> list[Tally]:
    """Run sequences (N, F, C, height, width) with the policy delta and each theta.

    If all thetas are 0 dense inference is not run beside it: no bit differs.

    Raises
    ------
    ValueError
        The network has no classes, or a frame, the task or theta does not fit.
    """
    if not model.config.num_classes:
        raise ValueError(f"{model.config.name} has no classes")
    labels = labels_of(task, digit)
    runs = [Temporal(model, Plan(Choice(Policy.DELTA, theta))) for theta in thetas]
    tallies = [Tally() for _ in thetas]
    for number, pixels in enumerate(shown.unbind(1)):
        traces = [run.run(pixels, task) for run in runs]
        if number:
            dense = infer(model, pixels, task) if any(thetas) else traces[0]
            tallies = [before + count(model, trace, dense, labels)
                       for before, trace in zip(tallies, traces, strict=True)]
    return tallies
