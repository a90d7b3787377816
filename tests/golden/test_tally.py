"""Tallies: counts of frames behind the first, as the traces say, that add up."""

import pytest
import torch

from deltamoe.golden.config import MODELS
from deltamoe.golden.data.sequences import sequences
from deltamoe.golden.integer import infer
from deltamoe.golden.library import find
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.quantization.report import sqnr
from deltamoe.golden.temporal.density import density
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.golden.temporal.tally import Tally, tally


def test_counts_are_those_of_the_traces() -> None:
    model = find("digits").quantized
    shown, digit = sequences("test", "both", 1, 3, 2)
    exact, loose = tally(model, shown, digit, 1, [0, 6])
    assert exact.frames == loose.frames == 4
    assert exact.noise == 0
    assert exact.sqnr_db is None
    traces, dense = [], []
    for frames in shown:
        run = Temporal(model, Plan(Choice(Policy.DELTA, 6)))
        traces += [run.run(pixels, 1) for pixels in frames][1:]
        dense += [infer(model, pixels, 1) for pixels in frames[1:]]
    assert loose.events == sum(int(mask.sum()) for made in traces for mask in made.sent.values())
    assert loose.density == pytest.approx(
        sum(density(made, model.config) for made in traces) / 4, rel=0.01)
    assert loose.sqnr_db == pytest.approx(sqnr(torch.cat([made.x for made in traces]),
                                               torch.cat([made.x for made in dense])))
    right = [int(made.scores.argmax()) == label % 2
             for made, label in zip(traces, digit.repeat_interleave(2).tolist(), strict=True)]
    assert loose.right == sum(right)
    assert loose.events < exact.events
    assert loose.attention_events > 0.9 * exact.attention_events


def test_tallies_add_up() -> None:
    one, two = Tally(2, 1, 30, 10, 400, 800, 50, 5), Tally(2, 2, 10, 5, 200, 400, 50, 0)
    assert one + two == Tally(4, 3, 40, 15, 600, 1200, 100, 5)
    assert (one + two).accuracy == 0.75
    assert (one + two).density == 0.5
    assert one.sqnr_db == pytest.approx(10)
    assert two.sqnr_db is None


def test_a_network_without_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="has no classes"):
        tally(QuantizedModel(MODELS["m3vit-tiny-129"], {}), torch.zeros(0), torch.zeros(0), 0, [0])
