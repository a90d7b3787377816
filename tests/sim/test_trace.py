"""Traces and pages: nothing that a span says is lost."""

import base64
import json
import re
from itertools import pairwise

import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.page import UNITS, page
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.label import Label
from deltamoe.sim.energy.estimate import Energy, energy
from deltamoe.sim.energy.ledger import Act
from deltamoe.sim.energy.table import tables
from deltamoe.sim.machine import simulate
from deltamoe.sim.outline import Outline, facts
from deltamoe.sim.report.losses import Losses
from deltamoe.sim.report.spans import COMPUTE, DRAIN, LOAD, Layer, Result, Span, Unit, group
from deltamoe.sim.report.trace import differences, perfetto

W, X, FC1 = (Label(name) for name in ("w", "x", "fc1"))
SPANS = (Span((LOAD,), W, 0, 7), Span((COMPUTE, group(3)), FC1, 5, 25),
         Span((LOAD,), X, 7, 8))
STALLS = {"waits_loads": 3, "waits_program": 1, "source_needs": 0}
RESULT = Result(dict.fromkeys(COUNTERS, 10) | {"cycles": 25, "macs": 400},
                (Layer(FC1, 5, 25, 400, STALLS),), SPANS, Losses(PRESETS["nano"]),
                {"fc1": {"cycles": 25}},
                {Act("fc1", "multipliers", "products", "random_compute"): 400})


def spent(result: Result, table: str = "asic_28nm") -> Energy:
    return energy(result, PRESETS["nano"], tables()[table], 100)


def test_trace_keeps_every_span() -> None:
    events = json.loads(perfetto({"simulator": SPANS}))["traceEvents"]
    track = {event["tid"]: event["args"]["name"] for event in events
             if event["name"] == "thread_name"}
    assert sorted(track.values()) == ["compute", "group 3", "load"]
    assert [(track[event["tid"]], event["name"], event["ts"], event["ts"] + event["dur"])
            for event in events if event["ph"] == "X"] == [
                (str(unit), str(span.item), span.start, span.end)
                for span in SPANS for unit in span.units]


def test_trace_of_two_processes_and_none() -> None:
    text = perfetto({"one": SPANS[:1], "two": SPANS, "differences": []})
    events = json.loads(text)["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events
             if event["name"] == "process_name"}
    assert list(names.values()) == ["one", "two", "differences"]
    drawn = [names[event["pid"]] for event in events if event["ph"] == "X"]
    assert {name: drawn.count(name) for name in names.values()} == {
        "one": 1, "two": 4, "differences": 0}
    assert [event["args"] for event in events if event["ph"] == "C"] == [{"count": 0}]


def test_differences() -> None:
    moved = (*SPANS[:2], Span((LOAD,), X, 7, 9))
    assert differences(SPANS, SPANS, ("a", "b")) == []
    assert differences(SPANS, moved, ("a", "b")) == [
        Span((Unit("load", run="a"),), X, 7, 8), Span((Unit("load", run="b"),), X, 7, 9)]
    assert str(Unit("group", 3, "a")) == "only a: group 3"
    apart = (SPANS[0], Span((group(3),), FC1, 5, 25), Span((COMPUTE,), FC1, 5, 25), SPANS[2])
    assert differences(SPANS, apart, ("a", "b")) == []
    assert differences(SPANS, SPANS * 2, ("a", "b")) == [
        Span((unit._replace(run="b"),), *span[1:]) for span, unit in (
            (SPANS[0], LOAD), (SPANS[1], COMPUTE), (SPANS[1], group(3)), (SPANS[2], LOAD))]


def test_utilization() -> None:
    assert RESULT.utilization(32) == 0.5
    assert RESULT.layers[0].cycles == 20


def test_page_is_one_file() -> None:
    hw = PRESETS["nano"]
    html = page("a <title>", {"cycles & more": "25"}, RESULT, hw,
                spent(RESULT))
    assert html.count("a &lt;title&gt;") == 2
    assert "cycles &amp; more" in html
    assert all(f"<li>{reason}</li>" in html for reason in tables()["asic_28nm"].gaps.values())
    assert not re.search(r'(src|href)="(?!data:)', html)
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(images) == 3
    for image in images:
        assert base64.b64decode(image).startswith(b"\x89PNG")


@pytest.mark.parametrize("result", [Result(dict.fromkeys(COUNTERS, 1), (), SPANS[:1],
                                            Losses(PRESETS["nano"]))])
def test_page_of_a_run_without_layers(result: Result) -> None:
    hw = PRESETS["nano"]
    assert "<img" in page("t", {}, result, hw, spent(result, "fpga"))


def test_spans_and_layers_account_for_all_work() -> None:
    """Every group's events lie in its spans, which never overlap; layers share out all cycles."""
    config, hw = MODELS["digits"], PRESETS["nano"]
    result = simulate(compile_program(Outline(config), hw), facts(config, 0))
    by_unit: dict[str, list] = {}
    for span in result.spans:
        for unit in span.units:
            by_unit.setdefault(unit, []).append((span.start, span.end))
    groups = [group(n) for n in range(hw.groups)]
    assert by_unit.keys() == {LOAD, COMPUTE, DRAIN, *groups}
    for spans in by_unit.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(spans)))
    lengths = {unit: sum(end - start for start, end in spans) for unit, spans in by_unit.items()}
    busy = sum(lengths[group] for group in groups)
    assert result.counters["worker_busy"] <= busy <= 1.1 * result.counters["worker_busy"]
    assert lengths[DRAIN] == result.counters["drain_busy"]
    assert lengths[LOAD] == result.counters["load_busy"]
    assert 0 <= result.cycles - sum(layer.cycles for layer in result.layers) <= 10


def test_page_knows_every_unit() -> None:
    config, hw = MODELS["digits"], PRESETS["nano"]
    result = simulate(compile_program(Outline(config), hw), facts(config, 0))
    assert {unit.kind for span in result.spans for unit in span.units} == set(UNITS)
    assert page("t", {}, result, hw, spent(result))
