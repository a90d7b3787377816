"""Traces and pages: nothing that a span says is lost."""

import base64
import json
import re

import pytest

from golden.config import MODELS
from rtl.compiler import compile_program
from rtl.config import PRESETS
from rtl.counters import COUNTERS
from scripts.page import UNITS, page
from sim.energy import energy
from sim.machine import simulate
from sim.outline import Outline, facts
from sim.spans import Layer, Result, Span
from sim.trace import perfetto

SPANS = (Span("load", "w", 0, 7), Span("compute", "fc1", 5, 25), Span("load", "x", 7, 8))
STALLS = {"waits_loads": 3, "source_needs": 0}
RESULT = Result(dict.fromkeys(COUNTERS, 10) | {"cycles": 25, "macs": 400},
                (Layer("fc1", 5, 25, 400, STALLS),), SPANS)


def test_trace_keeps_every_span() -> None:
    events = json.loads(perfetto(SPANS))["traceEvents"]
    track = {event["tid"]: event["args"]["name"] for event in events
             if event["name"] == "thread_name"}
    assert sorted(track.values()) == ["compute", "load"]
    assert [Span(track[event["tid"]], event["name"], event["ts"], event["ts"] + event["dur"])
            for event in events if event["ph"] == "X"] == list(SPANS)


def test_utilization() -> None:
    assert RESULT.utilization(32) == 0.5
    assert RESULT.layers[0].cycles == 20


def test_page_is_one_file() -> None:
    hw = PRESETS["nano"]
    made = page("a <title>", {"cycles & more": "25"}, RESULT, hw,
                energy(RESULT.counters, hw, "asic_28nm"), "asic_28nm")
    assert made.count("a &lt;title&gt;") == 2
    assert "cycles &amp; more" in made
    assert not re.search(r'(src|href)="(?!data:)', made)
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', made)
    assert len(images) == 3
    for image in images:
        assert base64.b64decode(image).startswith(b"\x89PNG")


@pytest.mark.parametrize("result", [Result(dict.fromkeys(COUNTERS, 1), (), SPANS[:1])])
def test_page_of_a_run_without_layers(result: Result) -> None:
    hw = PRESETS["nano"]
    assert "<img" in page("t", {}, result, hw, energy(result.counters, hw, "fpga"), "fpga")


def test_page_knows_every_unit() -> None:
    config, hw = MODELS["digits"], PRESETS["nano"]
    result = simulate(compile_program(Outline(config), hw), facts(config, 0))
    assert {span.unit.split()[0] for span in result.spans} == set(UNITS)
    assert page("t", {}, result, hw, energy(result.counters, hw, "asic_28nm"), "asic_28nm")
