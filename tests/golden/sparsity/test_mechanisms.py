"""What holds for every mechanism: dense at its dense end, and cost follows density."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import yaml

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.quantized_format import check_format
from deltamoe.golden.quantization.report import sqnr
from deltamoe.golden.sparsity.generated import generated
from deltamoe.golden.sparsity.mechanism import find
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.golden.sparsity.rules.routing import Pruned
from deltamoe.golden.sparsity.work import Frame
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.rtl.compiler.entry import compile_program

DIALS = {
    "token-activity": ({}, "active", (0.2, 0.6, 1.0)),
    "expert-pruning": ({}, "experts", (1, 2, 4)),
    "mohd": ({"shared": 2}, "k", (0, 2, 6)),
    "jetmoe": ({}, "k", (1, 2)),
    "cats": ({}, "density", (0.1, 0.5, 1.0)),
    "chess": ({}, "density", (0.1, 0.5, 1.0)),
    "teal": ({"greedy": 0}, "density", (0.1, 0.5, 1.0)),
    "wina": ({}, "density", (0.1, 0.5, 1.0)),
    "r-sparse": ({}, "density", (0.1, 0.5, 1.0)),
    "core-infer": ({}, "kept", (0.2, 0.6, 1.0)),
    "hidden-groups": ({}, "k", (1, 4, 8)),
    "sae-topk": ({}, "density", (0.1, 0.5, 1.0)),
    "feature-choice": ({}, "density", (0.1, 0.5, 1.0)),
    "mutual-choice": ({}, "density", (0.1, 0.5, 1.0)),
    "ap": ({}, "alive", (0.0, 0.6, 1.0)),
    "sparsifiner": ({}, "density", (0.1, 0.5, 1.0)),
    "flex-prefill": ({"tau": 1.0, "block": 2}, "gamma", (0.2, 0.9, 1.0)),
    "vertical-slash": ({}, "vertical", (0.1, 0.5, 1.0)),
    "block-sparse": ({"block": 2}, "density", (0.1, 0.5, 1.0)),
    "quest": ({"page": 2}, "density", (0.1, 0.5, 1.0)),
    "snap-kv": ({"window": 2}, "density", (0.1, 0.5, 1.0)),
    "s2": ({}, "local", (0, 4, 16)),
    "token-pruning": ({}, "kept", (0.3, 0.7, 1.0)),
    "magnitude": ({}, "density", (0.1, 0.5, 1.0)),
    "essential": ({}, "density", (0.1, 0.5, 1.0)),
    "random": ({"erk": 1}, "density", (0.1, 0.5, 1.0)),
    "wanda": ({}, "density", (0.1, 0.5, 1.0)),
    "dsnot": ({}, "density", (0.1, 0.5, 1.0)),
    "n-m": ({}, "n", (1, 2, 4)),
    "low-rank-sparse": ({}, "density", (0.0, 0.5, 1.0)),
    "low-bit": ({}, "bits", (2, 4, 8)),
}
"""Mechanisms with a parameter whose last value is dense, and others that it needs for that."""

RISING = {
    "top-k": ({}, "k", (1, 2, 3, 4)),
    "dense-to-sparse": ({}, "threshold", (0.5, 0.2, 0.0)),
    "smoe-dropout": ({}, "k", (1, 2, 4)),
    "task-set": ({}, "experts", (1, 2, 4)),
    "moe-x": ({}, "k", (1, 2, 4)),
    "product-keys": ({}, "k", (1, 2, 4)),
    "m-smoe": ({}, "groups", (1, 2, 4)),
    "delta": ({}, "theta", (255, 8, 1, 0)),
    "token-gate": ({}, "theta", (255, 8, 1, 0)),
    "eventful": ({}, "theta", (255, 8, 1, 0)),
    "dal": ({}, "step", (64, 16, 4, 1)),
    "fatrelu": ({}, "threshold", (64, 16, 4, 0)),
    "error-budget": ({}, "budget", (0.5, 0.2, 0.01)),
    "matching-pursuit": ({}, "density", (0.1, 0.3, 0.6)),
}
"""Others with a parameter that is sparse at first."""

EXACT = {
    "dense": {}, "zero-skip": {}, "delta": {"theta": 0}, "token-gate": {"theta": 0},
    "eventful": {"theta": 0}, "dal": {"step": 1}, "top-k": {"k": 2},
    "mote": {"without": 0, "always": 0},
    "lora-experts": {}, "expert-cache": {}, "error-budget": {"budget": 0.0},
    "fatrelu": {"threshold": 0},
}
"""Parameters with which no bit changes; fatrelu's only where nothing is negative."""


def macs(frames: list[Frame]) -> list[int]:
    """Multiplications without those of what decides."""
    return [sum(work.macs for work in frame.works.values()) for frame in frames]


def weights(frames: list[Frame]) -> list[int]:
    return [sum(work.weight_bytes for work in frame.works.values()) for frame in frames]


def played(name: str, record: Record, **parameters: float) -> list[Frame]:
    mechanism = find(name, MECHANISMS)
    return mechanism.frames(record, **mechanism.given(parameters))


@pytest.mark.parametrize("name", DIALS)
def test_at_its_dense_end_it_is_dense(name: str, live: Record, still: Record) -> None:
    others, dial, values = DIALS[name]
    for record in (live, still):
        densest = played(name, record, **others, **{dial: values[-1]})
        dense = played("dense", record)
        assert macs(densest) == macs(dense)
        assert weights(densest) == weights(dense)
        for frame, reference in zip(densest, dense, strict=True):
            assert frame.works.keys() == reference.works.keys()
            assert frame.sqnr_db == reference.sqnr_db == (None if record.model is None else inf)
            assert frame.predicted == reference.predicted


@pytest.mark.parametrize("name", [*DIALS, *RISING])
def test_cost_follows_density(name: str, still: Record) -> None:
    others, dial, values = (DIALS | RISING)[name]
    by_value = [played(name, still, **others, **{dial: value}) for value in values]
    for cost in (macs, weights):
        totals = [sum(cost(frames)) for frames in by_value]
        assert totals == sorted(totals)
    assert (sum(macs(by_value[0])), sum(weights(by_value[0]))) < (sum(macs(by_value[-1])),
                                                                  sum(weights(by_value[-1])))


@pytest.mark.parametrize("name", [name for name in EXACT if name != "fatrelu"])
def test_what_loses_nothing_changes_no_bit(name: str, live: Record) -> None:
    for frame in played(name, live, **EXACT[name]):
        assert frame.sqnr_db == inf


@pytest.mark.parametrize("name", MECHANISMS)
def test_what_remembers_and_what_is_calibrated_says_so(name: str, live: Record) -> None:
    """The second frame alone, or other operands and experts to calibrate on, change a result.

    THOR remembers nothing, but draws again.
    """
    mechanism = MECHANISMS[name]
    values = mechanism.given({"segment": 4} if name == "expert-cache" else {})

    def played(frames, calibration=None) -> list[str]:
        return [repr([(key, work.macs, work.weight_bytes, work.state_bytes)
                      for key, work in frame.works.items()]) + str(frame.sqnr_db)
                for frame in mechanism.frames(frames, calibration, **values)]

    first, second = live.frames
    two = replace(live, frames=(second,))
    other = replace(live, frames=(replace(
        first, routes={layer: 3 - chosen for layer, chosen in first.routes.items()},
        logits={layer: logits.flip(-1) for layer, logits in first.logits.items()}),))
    assert (played(live, other)[1] != played(two, other)[0]) == (
        mechanism.remembers or name == "thor")
    assert (played(two, other) != played(two, two)) == mechanism.calibrated


def test_every_parameter_is_a_word_in_yaml() -> None:
    """``on`` and ``off`` are not: YAML 1.1 reads them as truth values."""
    for mechanism in MECHANISMS.values():
        assert list(yaml.safe_load(", ".join(f"{name}: 1" for name in mechanism.parameters)
                                   .join("{}"))) == list(mechanism.parameters)


def test_every_mechanism_is_covered_here() -> None:
    named = {"relu", "thor", "block-ffn", "expert-averaging", "sparse-ift"}
    assert DIALS.keys() | RISING.keys() | EXACT.keys() | named == MECHANISMS.keys()


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_runs_with_its_defaults(name: str, live: Record) -> None:
    """On a network, on drawn operands; its frames add up and name the products of a trace."""
    drawn = generated(MODELS["digits"], density=0.3, token_correlation=0.2, time_correlation=0.5)
    for record in (live, drawn):
        frames = played(name, record)
        assert len(frames) == len(record.frames)
        for frame in frames:
            assert frame.works.keys() <= record.weights.keys() | {
                Operator(part, layer) for layer in range(4) for part in (Part.SCORES, Part.VALUES)}
            assert frame.macs > 0
            assert frame.weight_bytes > 0
            assert set(frame.routed) == {1, 3}
            for layer, tokens in frame.routed.items():
                assert isinstance(tokens, np.ndarray)
                for expert, count in enumerate(tokens):
                    work = frame.works.get(Operator(Part.FC1, layer, expert))
                    assert (work.rows if work else 0) == count
            if name != "sparse-ift":
                assert (frame.sqnr_db is None) == (record.model is None)
            assert frame.predicted in ([None] if frame.sqnr_db is None else range(10))
    again = played(name, live)
    assert [frame.macs for frame in again] == [frame.macs for frame in played(name, live)]


def test_dense_work_is_that_of_the_network(live: Record) -> None:
    """The gate's planes count twice, the head once more."""
    config = live.config
    extra = config.num_tokens * config.embed_dim * config.num_experts * 2 + 10 * config.embed_dim
    for frame in played("dense", live):
        assert frame.macs == config.macs + extra
        for product, work in frame.works.items():
            assert work.weight_density == 1
            assert work.index_bytes == work.state_bytes == work.predictor_macs == 0
            assert work.weight_bytes == (
                live.weights[product].numel() if product in live.weights else 0)


RUNS = {"dense": {}, "zero-skip": {}, "delta": {"theta": 2}, "token-gate": {"theta": 2},
        "top-k": {"k": 1}, "expert-pruning": {"experts": 3}, "relu": {},
        "fatrelu": {"threshold": 9}, "cats": {"density": 0.3}}


def original(product: Operator, record: Record) -> Operator:
    """Return what a product was before the least used expert left."""
    if product.expert is None:
        return product
    left = Pruned(record, 3).allowed(product.layer).nonzero().flatten().tolist()
    return product.of_expert(left[product.expert])


@pytest.mark.parametrize("name", RUNS)
def test_what_the_hardware_executes_is_this_exactly(name: str, live: Record) -> None:
    """The integer network and plan that the hardware follows bit for bit send the same events."""
    mechanism = MECHANISMS[name]
    parameters = mechanism.given(RUNS[name])
    network, plan = mechanism.executed(live, **parameters)
    run = Temporal(network, plan)
    for moment, frame in zip(live.frames, mechanism.frames(live, **parameters), strict=True):
        trace = run.run(moment.pixels)
        for product, sent in trace.sent.items():
            pruned = name == "expert-pruning"
            work = frame.works[original(product, live) if pruned else product]
            wanted = np.True_ if work.events is None else work.events
            assert (sent.flatten(0, -2).numpy() == wanted).all(), product
        assert len(trace.sent) == len(frame.works)
        noise = sqnr(trace.x, moment.output)
        assert frame.sqnr_db == pytest.approx(noise)
        assert frame.predicted == int(trace.scores.argmax())
    assert RUNS.keys() == {name for name, each in MECHANISMS.items() if each.executes == "rtl"}


def test_what_the_hardware_executes_compiles(live: Record) -> None:
    """Another network is another program: fewer experts, other tables, other top-k."""
    for name, values in RUNS.items():
        mechanism = MECHANISMS[name]
        network, plan = mechanism.executed(live, **mechanism.given(values))
        check_format(network.tensors, network.config)
        if name not in {"delta", "token-gate"}:
            assert len(compile_program(network, PRESETS["nano"], 0, plan).memory) > 0


@pytest.mark.parametrize(("name", "parameters", "words"), [
    ("teel", {}, "^policy 'teel' is not one of dense, zero-skip, "),
    ("teal", {"share": 1}, "^policy teal has no parameter 'share'; it has density, greedy$"),
    ("teal", {"density": 1.5}, r"^policy teal: density=1\.5 is not in 0\.0\.\.1\.0$"),
    ("teal", {"density": float("nan")}, "density=nan is not a number$"),
    ("top-k", {"k": 1.5}, r"k=1\.5 is not an integer$"),
    ("n-m", {"n": 5, "m": 4}, "^policy n-m: n=5 exceeds m=4$"),
    ("mohd", {"groups": 5}, "^policy mohd: groups=5 does not divide embed_dim=32$"),
    ("mote", {"without": 15}, "^policy mote: without=15 leaves none of 4 experts$"),
    ("mote", {"without": 1, "always": 1}, "^policy mote: without=1 and always=1 share experts$"),
    ("hidden-groups", {"groups": 7}, "groups=7 does not divide the width of blocks"),
])
def test_bad_parameters_are_refused(name: str, parameters: dict, words: str, live: Record) -> None:
    with pytest.raises(ValueError, match=words):
        played(name, live, **parameters)


@pytest.mark.parametrize(("name", "words"), [
    ("top-k", "^policy top-k needs logits of gates, and the record holds none$"),
    ("sparsifiner", "^policy sparsifiner needs keys of the attention, and the record holds none$"),
    ("mohd", "^policy mohd needs the blocks of a vision transformer, and the record is of an"),
    ("token-pruning", "^policy token-pruning needs the blocks of a vision transformer"),
    ("mote", "^policy mote needs logits of gates"),
])
def test_a_record_that_lacks_something_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        played(name, generated({"layer": (4, 8, 8)}))
