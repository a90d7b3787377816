"""Spans: the Verilog's units work when the simulator says, on what it says."""

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.boards.verilator import engine
from deltamoe.boards.verilator.probes import probes, watched
from deltamoe.golden.integer import infer
from deltamoe.golden.library import default_image, find
from deltamoe.golden.temporal.frames import Temporal
from deltamoe.rtl import cycles
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.label import Label, Role
from deltamoe.rtl.program import ErrorCode
from deltamoe.sim.facts import from_trace, from_traces
from deltamoe.sim.machine import simulate
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.report.spans import COMPUTE, DRAIN, LOAD, Unit, group
from deltamoe.sim.report.trace import differences
from tests.scripts.test_cli import run
from tests.system.networks import HARDWARE, make
from tests.system.test_sequences import both, sequence

NANO = PRESETS["nano"]
NAMES = ("simulator", "rtl")


@pytest.fixture(scope="module")
def digits() -> tuple:
    """Program, facts and spans of a digit on nano."""
    model = find("digits").quantized
    image, program = default_image(model.config), compile_program(model, NANO, 0)
    result = engine.run(program, program.with_image(image.numpy()), spans=True)
    return program, from_trace(infer(model, image, 0), model.config), result.spans


@pytest.mark.verilator
def test_every_unit_is_seen(digits: tuple) -> None:
    program, facts, spans = digits
    expected = simulate(program, facts).spans
    assert differences(expected, spans, NAMES) == []
    units = {unit for span in expected for unit in span.units}
    assert {span.units[0] for span in spans} == units
    assert units == {LOAD, COMPUTE, DRAIN, *map(group, range(NANO.groups))}


@pytest.mark.verilator
@pytest.mark.parametrize(("unit", "latency", "seen"), [
    (cycles.Worker, "LATENCY", DRAIN), (cycles.Walker, "SKIP", LOAD),
    (cycles.Softmax, "POWER", group(0))])
def test_a_wrong_latency_is_seen(unit: type, latency: str, seen: Unit, digits: tuple,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    program, facts, spans = digits
    monkeypatch.setattr(unit, latency, getattr(unit, latency) + 1)
    apart = differences(simulate(program, facts).spans, spans, NAMES)
    assert {seen._replace(run=name) for name in NAMES} <= {span.units[0] for span in apart}


@pytest.mark.verilator
@pytest.mark.parametrize("hardware", HARDWARE)
def test_random_networks(hardware: str, seed: int) -> None:
    hw, memory = HARDWARE[hardware], MemoryModel(60, 2)
    model, image, task = make(crc32(f"{hardware} timeline {seed}".encode()), hw, "free")
    program = compile_program(model, hw, task)
    result = engine.run(program, program.with_image(image.numpy()), latency=memory.latency,
                        interval=memory.interval, spans=True)
    facts = from_trace(infer(model, image, task), model.config)
    assert result.spans
    assert differences(simulate(program, facts, memory).spans, result.spans, NAMES) == []


@pytest.mark.verilator
def test_frames_with_kept_sums_and_gates(seed: int) -> None:
    """Probes and replayed rows, too."""
    model, image, task = make(1000 * seed + 53, NANO, "free")
    plan = both(model, task, 0)
    frames = sequence(image, np.random.default_rng(seed), 4)
    reference = Temporal(model, plan)
    traces = [reference.run(frame, task) for frame in frames]
    program = compile_program(model, NANO, task, plan, frames=4)
    result = engine.run(program, program.with_image(*(frame.numpy() for frame in frames)),
                        spans=True)
    assert result.error == ErrorCode.NONE
    expected = simulate(program, from_traces(traces, model.config, plan)).spans
    items = {span.item for span in expected}
    assert {item.role for item in items} >= {Role.PROBE, Role.REPLAY}
    assert Label("store") in items
    assert differences(expected, result.spans, NAMES) == []


@pytest.mark.verilator
def test_one_file_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                           capsys: pytest.CaptureFixture) -> None:
    from PIL import Image

    image = tmp_path / "digit.png"
    Image.fromarray(default_image(find("digits").quantized.config)[0].numpy()).save(image)
    code, out, _ = run(monkeypatch, capsys, "infer", "digits", "--engine", "rtl", "--image", image,
                       "--trace", tmp_path / "t.json", "--json", "-")
    assert code == 0
    figures = json.loads(out)
    assert (figures["mismatches"], figures["spans_differing"]) == (0, 0)
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["simulator", "rtl", "differences"]
    drawn = [sorted((event["name"], event["ts"], event["dur"]) for event in events
                    if event["ph"] == "X" and event["pid"] == pid) for pid in (1, 2, 3)]
    assert drawn[0] == drawn[1] != drawn[2] == []


def test_probes_need_their_ports() -> None:
    """Verilog without a port that is watched is refused, not watched in part."""
    ports = {probe.path: {other.port for other in probes(NANO) if other.path == probe.path}
             for probe in probes(NANO)}
    text = "".join(f"module \\{'.'.join(('deltamoe', *path))} (x);\n" + "".join(
        f"  output {port};\n" for port in names) + "endmodule\n" for path, names in ports.items())
    seen, header = watched(text, NANO)
    assert seen.count("public_flat_rd") == header.count("#define PROBE_") == len(probes(NANO))
    with pytest.raises(ValueError, match=r"0 ports o__ready in deltamoe\.sequencer"):
        watched(text.replace("o__ready", "ready"), NANO)
