"""Every product that was not made has a cause."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import infer
from deltamoe.golden.library import default_image, find
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.outline import Outline, facts
from deltamoe.sim.report.losses import CAUSES, Losses


def run(model: str, hardware: str, memory: MemoryModel, **changes):
    hw = replace(PRESETS[hardware], **changes)
    config = MODELS[model]
    return simulate(compile_program(Outline(config), hw), facts(config, 0), memory), hw


@pytest.mark.parametrize(("model", "hardware"), [
    ("digits", "nano"), ("m3vit-tiny-129", "zcu102"), ("m3vit-tiny-129", "ulx3s")])
def test_products_made_and_lost_are_all(model: str, hardware: str) -> None:
    result, hw = run(model, hardware, MemoryModel(100))
    lost = result.losses.by_cause()
    assert min(lost.values()) >= 0
    assert sum(lost.values()) * hw.mac_units + result.counters["macs"] == pytest.approx(
        result.cycles * hw.mac_units, abs=0.5)
    by_operator = result.losses.by_operator()
    assert set(by_operator) - {"end"} <= {str(layer.label) for layer in result.layers}
    for cause in CAUSES:
        assert sum(parts.get(cause, 0) for parts in by_operator.values()) == pytest.approx(
            lost[cause])


@pytest.mark.parametrize("policy", [Policy.ZERO_SKIP])
def test_skipped_products_leave_no_gap_without_a_cause(policy: Policy) -> None:
    model = find("digits").quantized
    program = compile_program(model, PRESETS["nano"], 0, Plan(Choice(policy)))
    trace = infer(model, default_image(model.config), 0)
    result = simulate(program, from_trace(trace, model.config))
    lost = result.losses.by_cause()
    assert lost["few events"] > 0
    assert sum(lost.values()) + result.counters["macs"] / 32 == pytest.approx(result.cycles)


def test_slow_memory_is_named() -> None:
    fast, slow = (run("m3vit-tiny-129", "zcu102", MemoryModel(100, interval))[0]
                  for interval in (1, 4))
    more = {cause: slow.losses.by_cause()[cause] - fast.losses.by_cause()[cause]
            for cause in CAUSES}
    assert max(more, key=more.get) == "weights"
    assert more["weights"] > 0.9 * (slow.cycles - fast.cycles)


def test_a_gap_is_cut_where_its_cause_changes() -> None:
    losses = Losses(PRESETS["nano"])
    losses.descriptor((5, "uneven"), (10, "program"), (30, "weights"), (32, "operators"))
    losses.operator("a", 33, "rows")
    losses.item(33, 40, 41, 45)
    losses.worked(-8, 47, 50, 3, 2)
    losses.macs(10)
    lanes = 2 * PRESETS["nano"].lanes
    assert dict(losses.lost) == {("a", cause): count * lanes for cause, count in {
        "uneven": 5, "program": 5, "weights": 20, "operators": 2, "issue": 1, "rows": 7,
        "queues": 1, "fill": 4, "drain": 2, "few events": 1}.items()} | {
            ("a", "partial tiles"): 3 * lanes - 10}


def test_a_descriptor_without_items_passes_its_wait_on() -> None:
    losses = Losses(PRESETS["nano"])
    losses.descriptor((4, "uneven"), (4, "program"), (9, "weights"), (9, "operators"))
    losses.descriptor((10, "issue"), (12, "program"), (12, "weights"), (12, "operators"))
    losses.operator("b", 13, "rows")
    losses.item(13, 13, 13, 13)
    losses.worked(-8, 13, 13, 1, 1)
    assert np.array([losses.lost["b", cause] // 8 for cause in (
        "uneven", "program", "weights", "issue")]).tolist() == [4, 2, 5, 2]
