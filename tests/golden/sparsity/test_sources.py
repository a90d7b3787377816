"""Policies against their sources: what differs is said, and what is repaired still classifies."""

import pytest

from deltamoe.golden.data.images import digits
from deltamoe.golden.library import calibration_images, find
from deltamoe.golden.sparsity.record import Record, record
from deltamoe.golden.sparsity.registry import MECHANISMS

COUNT = 60
"""Test digits; one is 1.7 %."""

DIFFERS = {
    "task-set": "in place of skills that people name", "m-smoe": "not fine-tuned",
    "low-rank-sparse": "not merged", "jetmoe": "no stick-breaking attention",
    "lora-experts": "cost only", "expert-pruning": "without the fine-tuning",
    "expert-cache": "looks ahead", "block-ffn": "saturate at 1",
    "low-bit": "multiplications stay at 8 bits", "error-budget": "not searched",
    "fatrelu": "one threshold for all layers", "token-activity": "no state-space layer",
    "flex-prefill": "no causal mask", "vertical-slash": "last patches",
    "block-sparse": "no causal mask", "quest": "no decoding", "snap-kv": "last patches",
    "mohd": "neither scaled nor fused", "token-pruning": "not fused",
    "moe-x": "weights of the network's gate", "cats": "act(gate) * up", "chess": "act(gate) * up",
    "sparse-ift": "cost only", "matching-pursuit": "fixed number of steps",
    "ap": "trains while it prunes", "mote": "by hand", "product-keys": "only the gate",
    "delta": "attention's two products", "dal": "one step for all layers",
}
"""Policies that do part of what their source does, and words of what they leave out."""


@pytest.mark.parametrize("name", DIFFERS)
def test_what_a_policy_leaves_out_is_said(name: str) -> None:
    assert DIFFERS[name] in MECHANISMS[name].differs


def test_what_is_said_is_short_and_of_one_line() -> None:
    for mechanism in MECHANISMS.values():
        assert len(mechanism.differs) <= 200, mechanism.name
        assert "\n" not in mechanism.differs


def test_papers_are_cited_where_they_belong() -> None:
    """DEFT (2402.01911) is a density loss in training; no policy here is it."""
    assert not any("2402.01911" in mechanism.source for mechanism in MECHANISMS.values())
    assert "2212.06145" in MECHANISMS["ap"].source
    assert "2411.02335" in MECHANISMS["error-budget"].source


@pytest.fixture(scope="module")
def judged() -> tuple[Record, Record]:
    """Test digits, and others for calibration."""
    network = find("digits")
    return (record(network, digits("test")[0][:COUNT]),
            record(network, calibration_images(network.quantized.config)))


@pytest.mark.parametrize(("name", "density", "agreement"), [
    ("essential", 0.5, 0.80), ("chess", 0.3, 0.77)])
def test_classes_of_repaired_policies_agree_with_dense_inference(
        name: str, density: float, agreement: float, judged: tuple[Record, Record]) -> None:
    """A threshold on scaled weights left essential 0.18, one a channel left CHESS 0.38."""
    recorded, other = judged
    mechanism = MECHANISMS[name]
    frames = mechanism.frames(recorded, other, **mechanism.given({"density": density}))
    same = [frame.predicted == moment.predicted
            for frame, moment in zip(frames, recorded.frames, strict=True)]
    assert sum(same) / COUNT == pytest.approx(agreement, abs=0.05)
