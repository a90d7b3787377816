"""``deltamoe compare``: its figures are those of the other commands, and every output agrees."""

import csv
import html
import json
import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from torch import nn

from deltamoe.boards import BOARDS
from deltamoe.experiments.points import evaluate
from deltamoe.experiments.points.inputs import InputSpec
from deltamoe.experiments.points.point import Point
from deltamoe.experiments.points.subject import Subject
from deltamoe.experiments.points.values import ModelSpec, PolicySpec
from deltamoe.experiments.reading import bundled
from deltamoe.experiments.study import figures
from deltamoe.experiments.study.spec import BUNDLED, Study, read
from deltamoe.experiments.study.table import Units
from deltamoe.golden.config import MODELS
from deltamoe.golden.data.video import frames
from deltamoe.golden.integer import infer
from deltamoe.golden.library import default_image, find
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity.generated import generated
from deltamoe.golden.sparsity.hooks import trace as hooked
from deltamoe.golden.sparsity.mechanism import find as find_mechanism
from deltamoe.golden.sparsity.record import record as recorded
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.golden.sparsity.trace_file import save
from deltamoe.sim.energy.table import Interval, tables
from tests.scripts.test_cli import run

SMALL = """question: What do zeros gain?
models: [digits]
hardware: [nano]
policies: [dense, zero-skip, {name: teal, density: 0.4}]
memory: [{name: near, latency: 20, interval: 1}, {name: far, latency: 60, interval: 2}]
baseline: {policy: dense}
"""
VIDEO = """question: What does memory of the frame before gain?
models: [digits]
hardware: [nano]
policies: [dense, delta, {name: token-gate, theta: 1}]
memory: [{latency: 20}]
inputs: [{source: "generator:object", frames: 3}]
baseline: {policy: dense}
"""


@pytest.fixture
def compared(tmp_path: Path, monkeypatch, capsys):
    """Run a study; return its JSON and its folder."""
    monkeypatch.chdir(tmp_path)

    def study(text: str) -> tuple[dict, Path, str]:
        Path("study.yaml").write_text(text)
        code, out, err = run(monkeypatch, capsys, "compare", "study.yaml", "--out", "made",
                             "--csv", "made.csv", "--json", "made.json")
        assert code == 0, err
        return json.loads(Path("made.json").read_text()), tmp_path / "made", out

    return study


def said(monkeypatch, capsys, line: str) -> dict:
    """Return the JSON of another command."""
    code, out, err = run(monkeypatch, capsys, *line.split(), "--json", "-")
    assert code == 0, err
    return json.loads(out)


def test_figures_are_those_of_simulate_and_every_output_agrees(
        compared, monkeypatch, capsys) -> None:
    figures, folder, out = compared(SMALL)
    points = {(point["policy"], point["memory"]): point for point in figures["points"]}
    assert len(points) == len(figures["points"]) == 6
    for memory, options in (("near", "--latency 20"), ("far", "--latency 60 --interval 2")):
        alone = said(monkeypatch, capsys, f"simulate digits --hardware nano {options}")
        point = points["dense", memory]
        assert point["executes"] == "rtl"
        assert point["counters"] == alone["counters"]
        assert point["layers"] == alone["layers"]
        for bound in ("low", "typical", "high"):
            assert point[f"energy_pj_total_{bound}"] == pytest.approx(
                alone["energy_pj"][bound], rel=1e-9)
    assert points["zero-skip", "near"]["executes"] == "rtl"
    assert points["teal density=0.4", "far"]["executes"] == "model"
    assert points["dense", "far"]["speedup"] == 1
    for point in figures["points"]:
        base = points["dense", point["memory"]]
        assert point["speedup"] == pytest.approx(base["cycles"] / point["cycles"])

    for number, row in enumerate(csv.DictReader(Path("made.csv").read_text().splitlines())):
        point = figures["points"][number]
        for name, value in row.items():
            assert value == ("" if point[name] is None else str(point[name])), name
    table = [line.split() for line in out.splitlines()]
    page = (folder / "report.html").read_text()
    for number, point in enumerate(figures["points"], 1):
        cycles = f"{point['cycles']:,.0f}"
        assert any(line[:1] == [str(number)] and cycles in line and point["executes"] in line
                   for line in table)
        assert re.search(rf'>{number}</td>.{{,80}}class="{point["executes"]}".*?>{cycles}<', page)
    for words in table:  # also of the energy by component
        if words and words[0].isdigit():
            assert figures["points"][int(words[0]) - 1]["executes"] in words
    assert figures["answer"] in " ".join(out.split())
    assert html.escape(figures["answer"]) in page


def test_report_needs_nothing_else_and_states_its_sources(compared) -> None:
    figures, folder, _ = compared(SMALL)
    page = (folder / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)|url\(|<script|@import|https?:', page)
    assert page.count("data:image/png;base64,") == 5
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "roofline.png", "pareto.png", "energy.png", "layers.png", "stalls.png"}
    used = tables()[figures["energy_table"]]
    for entry in used.entries.values():
        assert html.escape(entry["source"]) in page
    for reason in used.gaps.values():
        assert html.escape(reason) in page
    for paper in ("NullHop", "TEAL"):
        assert paper in page
    for assumption in ("evenly spread", "no token of the frame needs is read", "row by row before"):
        assert assumption in page
    assert page.count('<span class="model">model</span>') >= 4  # twice two points, and the claim
    assert page.count('<span class="rtl">rtl</span>') >= 8
    assert "trained weights" in page


def test_report_says_what_stands_in_for_training(compared) -> None:
    """And how policies differ from their sources, in every output; and what calibrated them."""
    figures, folder, out = compared(
        "question: Which?\nmodels: [digits]\nhardware: [nano]\nmemory: [{latency: 20}]\n"
        "policies: [dense, mohd, jetmoe, token-activity, cats, wanda]\n")
    page = (folder / "report.html").read_text()
    for words in ("energy of a group in the block&#x27;s first operand, in place of a trained one",
                  "energy of a head&#x27;s query, which only a dense product knows, in place of",
                  "length of a token&#x27;s row, in place of a trained one",
                  "Calibrated were cats, wanda on two other images"):
        assert words in page
    rows = list(csv.DictReader(Path("made.csv").read_text().splitlines()))
    assert [bool(point["differs"]) for point in figures["points"]] == [False, *[True] * 4, False]
    for point, row in zip(figures["points"], rows, strict=True):
        differs = MECHANISMS[point["policy"]].differs
        assert point["differs"] == row["differs"] == differs
        assert html.escape(differs) in page
        assert not differs or f"{point['policy']} {differs}" in " ".join(out.split())
    assert "cats 1.1" in figures["answer"]
    assert "(rtl)" in figures["answer"]
    assert "(model)" in figures["answer"]


def test_one_frame_without_a_difference_is_not_all_of_them() -> None:
    """Noise is averaged: of two frames with as much signal, one without any, half of it is left."""
    point_run = evaluate.Run((), (float("inf"), 20.0), (True, False), "rtl", "")
    assert point_run.quality == pytest.approx(20 + 10 * math.log10(2))
    assert point_run.agreement == 0.5
    assert replace(point_run, sqnr_db=(float("inf"),) * 2).quality == float("inf")
    assert replace(point_run, sqnr_db=(20.0, None)).quality is None
    assert replace(point_run, same_class=(True, None)).agreement is None


def test_classes_are_compared_with_those_of_dense_inference(compared) -> None:
    """By a policy that the hardware executes and by a modeled one, on a video and an image."""
    figures, folder, _ = compared(
        "question: Which class?\nmodels: [digits]\nhardware: [nano]\nmemory: [{latency: 20}]\n"
        "policies: [dense, {name: fatrelu, threshold: 40}, {name: sae-topk, density: 0.02}, "
        "random]\ninputs: [{source: 'generator:object', frames: 5}]\n")
    network = find("digits").quantized
    shown = list(frames("generator:object", network.config, 5))
    dense = [int(infer(network, pixels).scores.argmax()) for pixels in shown]
    record = recorded(network, shown)
    for point, (name, values) in zip(figures["points"], (
            ("dense", {}), ("fatrelu", {"threshold": 40}), ("sae-topk", {"density": 0.02}),
            ("random", {})), strict=True):
        mechanism = MECHANISMS[name]
        left = mechanism.frames(record, **mechanism.given(values))
        same = [frame.predicted == wanted for frame, wanted in zip(left, dense, strict=True)]
        assert point["same_class"] == sum(same[1:]) / 4, name
    assert figures["points"][0]["same_class"] == 1
    assert min(point["same_class"] for point in figures["points"]) < 1
    assert re.search(r"dB, \d+% of classes", (folder / "report.html").read_text())


@pytest.mark.parametrize(("source", "count"), [
    ({"source": "image"}, 2), ({"source": "generator:object", "frames": 1}, 2),
    ({"source": "statistics", "frames": 3}, 2)])
def test_nothing_is_calibrated_on_what_it_is_judged_on(source: dict, count: int) -> None:
    subject = Subject(ModelSpec(preset="digits"), InputSpec(**source), operands=True)
    judged, other, patches = subject.record, subject.calibration, Operator(Part.PATCH)
    assert len(other.frames) == count
    for product, weight in judged.weights.items():
        assert torch.equal(weight, other.weights[product])
    for moment in judged.frames:
        assert not any(torch.equal(moment.operands[patches], seen.operands[patches])
                       for seen in other.frames)
    policy = PolicySpec(name="teal", density=0.5)
    cut = find_mechanism("teal", MECHANISMS).frames(judged, other, **policy.parameters)
    for mine, wanted in zip(subject.left(policy), cut, strict=True):
        assert mine.macs == wanted.macs
    own = find_mechanism("teal", MECHANISMS).frames(judged, **policy.parameters)
    assert [frame.macs for frame in own] != [frame.macs for frame in cut]


def test_remembering_is_exact_against_the_video_command(compared, monkeypatch, capsys) -> None:
    figures, _, _ = compared(VIDEO)
    for point, options in zip(figures["points"], (
            "--policy dense", "--policy delta", "--policy token-gate --theta 1"), strict=True):
        shown = said(monkeypatch, capsys, "video digits --hardware nano --input generator:object "
                                          f"--frames 3 --latency 20 {options}")["summary"]
        assert point["executes"] == "rtl"
        assert point["cycles"] == shown["cycles"]
        assert point["bytes_read"] + point["bytes_written"] == shown["bytes"]
        assert point["energy_pj_total_typical"] == pytest.approx(shown["energy_pj"])
        assert point["speedup"] == pytest.approx(shown["speedup"])
    assert figures["points"][1]["same_bits"]
    assert figures["points"][2]["sqnr_db"] > 3


def test_traces_give_what_their_network_gives(compared, tmp_path: Path) -> None:
    """A trace of the default image, replayed: dense inference exactly, and as many zeros."""
    record = recorded(find("digits"), [default_image(MODELS["digits"])])
    save(record, tmp_path / "t.safetensors")
    figures, _, _ = compared(SMALL.replace("baseline", "inputs: [image, t.safetensors]\nbaseline"))
    points = {(point["policy"], point["memory"], point["input"]): point
              for point in figures["points"]}
    for memory in ("near", "far"):
        live, replayed = (points["dense", memory, source] for source in ("image", "t.safetensors"))
        assert replayed["executes"] == "rtl"
        assert replayed["operands"] == "trace t.safetensors"
        assert replayed["counters"] == live["counters"]
        zeros, less = (points["zero-skip", memory, source] for source in (
            "image", "t.safetensors"))
        assert less["executes"] == "model"
        assert less["macs"] == zeros["macs"]


def test_any_networks_layers_are_simulated(compared, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("fc1", nn.Linear(64, 128))
    module.add_module("act", nn.ReLU())
    module.add_module("fc2", nn.Linear(128, 64))
    save(hooked(module, torch.randn(16, 64)), tmp_path / "mlp.safetensors")
    figures, folder, _ = compared(
        "question: And mine?\nmodels: [{trace: mlp.safetensors}]\nhardware: [nano]\n"
        "policies: [dense, zero-skip, n-m]\nmemory: [{latency: 1}]\nbaseline: {policy: dense}\n")
    dense, zeros, pruned = figures["points"]
    assert {point["executes"] for point in figures["points"]} == {"model"}
    assert dense["model"] == "mlp"
    assert dense["macs"] == 16 * (64 * 128 + 128 * 64)
    assert dense["bytes_read"] > 64 * 128 + 128 * 64
    assert 16 * 64 * 128 < zeros["macs"] < 0.8 * dense["macs"]
    assert pruned["macs"] == dense["macs"] / 2
    assert pruned["cycles"] < zeros["cycles"] < dense["cycles"]
    assert "matrix products in the order in which they ran" in (folder / "report.html").read_text()


def test_numbers_of_a_picture_hide_no_other() -> None:
    """Points close to each other and on a line; those that touch share one label."""
    rng = np.random.default_rng(5)
    for count in (6, 15, 24):
        x, y = rng.uniform(0, 1, (2, count))
        x[3], y[3] = x[2], y[2]
        x[:2], y[:2] = (0.5, 0.519), (0.5, 0.523)
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        axes = figure.subplots()
        points = [SimpleNamespace(executes="rtl", label=f"a point of number {n}")
                  for n in range(count)]
        figures.key(figure, points)
        figures.spots(axes, points, list(x), list(y), range(1, count + 1))
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in axes.texts]
        said = sorted(int(n) for text in axes.texts for n in text.get_text().split(", "))
        assert said == list(range(1, count + 1))
        assert any({"3", "4"} <= set(text.get_text().split(", ")) for text in axes.texts)
        boxes += [Bbox([middle - 4, middle + 4])
                  for middle in axes.transData.transform(np.stack([x, y], 1))]
        hidden = [(one, other) for one, other in combinations(range(len(boxes)), 2)
                  if one < len(axes.texts) and boxes[one].overlaps(boxes[other])]
        assert not hidden, count
        assert len(figure.legends[0].get_texts()) == count


def test_an_unknown_output_is_not_drawn_as_the_same() -> None:
    spent = {"total": Interval(1e6, 2e6, 3e6, "t")}
    points = [SimpleNamespace(executes=kind, label=kind, energy=spent, frames_per_s=speed,
                              sqnr_db=noise, seeded=False,
                              point=SimpleNamespace(clock=BOARDS["zcu102"].clock))
              for kind, speed, noise in (("rtl", 100.0, float("inf")), ("model", 200.0, 20.0),
                                         ("model", 300.0, None))]
    figure = figures.pareto(points, Units(points))
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["1", "2", "3"]
    assert [text.get_text() for text in right.texts] == ["1", "2"]
    assert right.get_xticklabels()[-1].get_text() == "same\nbits"


def test_traces_of_other_networks_are_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    save(generated(replace(MODELS["digits"], top_k=1), frames=1), tmp_path / "t.safetensors")
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text("question: why?\nmodels: [digits]\nhardware: [nano]\n"
                                  "inputs: [t.safetensors]\n")
    code, out, err = run(monkeypatch, capsys, "compare", "study.yaml")
    assert (code, out) == (2, "")
    assert "t.safetensors: the trace is of a network with other dimensions than digits" in err


BAD = {
    "models: [nosuch]\nhardware: [nano]": "models[0]: 'nosuch' is not one of digits",
    "models: [{preset: digits, experts: 4}]\nhardware: [nano]": (
        "models[0]: unknown key 'experts'; allowed are preset, name, trace, task, image_channels"),
    "models: [{preset: digits, num_experts: four}]\nhardware: [nano]": (
        "models[0]: num_experts='four' is not of type int"),
    "models: [{preset: digits, num_experts: 1}]\nhardware: [nano]": (
        "models[0]: top_k=2 exceeds num_experts=1"),
    "models: [{preset: digits, task: 2}]\nhardware: [nano]": "models[0]: task 2 is not in 0..1",
    "models: [{preset: digits, top_k: 1, name: digits}]\nhardware: [nano]": (
        "models[0]: name 'digits' is that of a preset"),
    "models: [digits, digits]\nhardware: [nano]": "models: two values are called 'digits'",
    "models: []\nhardware: [nano]": "models: List should have at least 1 item",
    "models: digits\nhardware: [nano]": "models: Input should be a valid list",
    "models: [digits]": "hardware: Field required",
    "models: [digits]\nhardware: [{preset: nano, lanes: 9}]": "hardware[0]: lanes=9 is not 8, 16",
    "models: [digits]\nhardware: [nano]\npolicy: [dense]": (
        "unknown key 'policy'; allowed are question, models, hardware, policies"),
    "models: [digits]\nhardware: [nano]\npolicies: [nosuch]": (
        "policies[0]: policy 'nosuch' is not one of dense, zero-skip"),
    "models: [digits]\nhardware: [nano]\npolicies: [{name: teal, density: 2}]": (
        "policies[0]: policy teal: density=2 is not in 0.0..1.0"),
    "models: [digits]\nhardware: [nano]\npolicies: [{name: teal, share: 1}]": (
        "policies[0]: unknown key 'share'; allowed are name, density"),
    "models: [digits]\nhardware: [nano]\nmemory: [{latency: 0}]": (
        "memory[0].latency: Input should be greater than or equal to 1"),
    "models: [digits]\nhardware: [nano]\nmemory: [{interval: fast}]": (
        "memory[0].interval: Input should be a valid integer"),
    "models: [digits]\nhardware: [nano]\nmemory: [{interval: 2, bytes_per_cycle: 8}]": (
        "memory[0]: has both interval and bytes_per_cycle"),
    "models: [digits]\nhardware: [nano]\nmemory: [{clock_mhz: 1001}]": (
        "memory[0].clock_mhz: Input should be less than or equal to 1000, not 1001"),
    "models: [digits]\nhardware: [nano]\nbaseline: {policy: delta}": (
        "baseline: policy 'delta' is not one of dense"),
    "models: [digits]\nhardware: [nano]\nbaseline: {speed: 1}": "baseline: 'speed' is not one of",
    "models: [digits]\nhardware: [nano]\nenergy_table: nosuch": "'nosuch' is not one of asic_28nm",
    "models: [digits]\nhardware: [nano]\nbatch: [2]\ninputs: ['generator:pan']": "batch: 2 at a",
    "models: [digits]\nhardware: [nano]\ninputs: ['generator:nosuch']": "'generator:nosuch'",
    "models: [{preset: digits, task: 1}]\nhardware: [nano]\ninputs: [statistics]": "task 0 only",
    "models: [m3vit-tiny-129]\nhardware: [nano]": "embed_dim=192 exceeds nano's maximum 64",
    "models: [digits]\nhardware: [nano]\nmemory: [{name: a}, {name: a}]": "are called 'a'",
    "models: [{trace: nosuch.safetensors}]\nhardware: [nano]": "nosuch.safetensors",
    "models: [m3vit-tiny-129]\nhardware: [zcu102]\npolicies: [{name: expert-cache, size: 16}]": (
        "policies: expert-cache size=16: 16 experts in each of 6 layers of m3vit-tiny-129 are "
        "14,155,776 bytes, the weight memory of zcu102 has 786,432"),
    "models: [{trace: x.safetensors, top_k: 1}]\nhardware: [nano]": "allowed are trace, name",
    "models: [{trace: x.safetensors}]\nhardware: [nano]\nbatch: [2]": "a trace has its own input",
    "models: [digits\nhardware: [nano]": "study.yaml: not YAML",
    "models: [digits]\nhardware: [nano]\nbatch: [1000000000]": (
        "batch[0]: Input should be less than or equal to 1024"),
    "models: [digits]\nhardware: [nano]\nbatch: [2]\npolicies: [dense, delta]": (
        "batch: 2 times the same image, of which policy delta would remember the one before"),
    "models: [digits]\nhardware: [nano]\nbatch: [2, 2]": "batch: 2 is there twice",
    "models: [digits]\nhardware: [nano]\npolicies: [dense, dense]": (
        "policies: dense is there twice"),
    "models: [digits]\nhardware: [nano]\npolicies: [{density: 0.5}]": (
        "policies[0]: {'density': 0.5} has no name; one of dense, zero-skip"),
    "models: [digits]\nhardware: [nano]\ninputs: [{source: statistics, routing_skew: .inf}]": (
        "inputs[0].routing_skew: Input should be a finite number"),
    "models: [digits]\nhardware: [nano]\ninputs: [{source: statistics, seed: 9e30}]": (
        "inputs[0].seed: Input should be"),
    f"models: [digits]\nhardware: [nano]\ninputs: [{{source: statistics, seed: {2**64}}}]": (
        "inputs[0].seed: Input should be less than"),
    "models: [{trace: .}]\nhardware: [nano]": ".: not a file that can be read",
    "models: [{trace: null}]\nhardware: [nano]": "models[0]: neither a preset nor a trace",
    "- 1": "[1] is not a mapping with question, models",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_studies_are_one_line(text: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(text if text[0] == "-" else f"question: why?\n{text}\n")
    code, out, err = run(monkeypatch, capsys, "compare", "study.yaml", "--out", "made",
                         "--csv", "made.csv", "--json", "made.json")
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert BAD[text] in err
    assert {path.name for path in tmp_path.iterdir()} == {"study.yaml"}


@pytest.mark.parametrize(("option", "words"), [
    ("--out", "file is no folder"), ("--csv", "folder is a folder"), ("--json", "folder is a fo")])
def test_where_nothing_can_be_written_is_said_first(option: str, words: str, tmp_path: Path,
                                                    monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept")
    Path("folder").mkdir()
    monkeypatch.setattr(evaluate.Evaluator, "run", lambda *_: pytest.fail("simulated in vain"))
    Path("study.yaml").write_text(SMALL)
    code, out, err = run(monkeypatch, capsys, "compare", "study.yaml", option, words.split()[0])
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {words}")
    assert Path("file").read_text() == "kept"


def test_studies_that_come_along_are_listed(monkeypatch, capsys) -> None:
    listed = said(monkeypatch, capsys, "compare --list")
    assert len(listed) == 11
    assert listed == {name: read(name).question for name in bundled(BUNDLED)}
    assert all(question.endswith("?") for question in listed.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(bundled(BUNDLED)))
def test_studies_that_come_along_run(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    code, _, err = run(monkeypatch, capsys, "compare", name, "--out", tmp_path / "made",
                       "--json", tmp_path / "made.json")
    assert code == 0, err
    points = json.loads((tmp_path / "made.json").read_text())["points"]
    assert len(points) >= 6
    for point in points:
        assert 0 < point["utilization"] <= 1
        assert point["energy_pj_total_low"] <= point["energy_pj_total_high"]
        assert point["speedup"] == 1 or ", ".join(
            str(point[axis]) for axis in ("model", "policy")) != point["baseline"]
    assert {point["speedup"] for point in points} > {1}


ROUTING = [name for name, mechanism in MECHANISMS.items() if mechanism.family == "routing"]


def alone(policy: str | dict, **axes) -> tuple[Point, Subject, evaluate.Run]:
    """Run one policy on the digits network and nano; return its point, subject and run."""
    study = Study.model_validate({"question": "?", "models": ["digits"], "hardware": ["nano"],
                                  "policies": [policy], **axes})
    evaluator, (point,) = evaluate.Evaluator(operands=True), study.points
    return point, evaluator.subject(point), evaluator.run(point)


def weights_read(run: evaluate.Run) -> int:
    """Return the bytes that the first frame's run reads for weights."""
    return sum(count for act, count in run.results[0].acts.items()
               if (act.component, act.operand) == ("dram", "weights"))


@pytest.mark.parametrize("policy", ROUTING)
def test_weights_of_experts_that_do_not_exist_are_not_read(policy: str) -> None:
    """Bytes read against bytes wanted, of every policy that routes, as on the exact path."""
    point, subject, run = alone(policy)
    works = subject.left(point.policy)[0].works.values()
    wanted = sum(work.loaded_bytes + work.index_bytes + work.predictor_bytes for work in works)
    assert wanted <= weights_read(run) <= 1.1 * wanted


@pytest.mark.parametrize("policy", ["dense", "expert-pruning"])
def test_both_paths_count_the_same(policy: str) -> None:
    point, subject, run = alone(policy)
    assert run.executes == "rtl"
    assert evaluate.modeled(subject, point).results[0].counters == run.results[0].counters


@pytest.mark.parametrize("policy", ["relu", "cats", "fatrelu"])
def test_columns_that_no_token_needs_are_read_on_both_paths(policy: str) -> None:
    """So a policy that skips more is not ranked by bytes that this hardware would read."""
    point, subject, run = alone(policy)
    frame, model = subject.left(point.policy)[0], evaluate.modeled(subject, point)
    assert frame.weight_bytes < frame.loaded_bytes
    (exact,), (counted,) = run.results, model.results
    assert counted.counters["bytes_read"] == exact.counters["bytes_read"]
    assert counted.counters["macs"] == pytest.approx(exact.counters["macs"], rel=0.001)
    assert counted.cycles == pytest.approx(exact.cycles, rel=0.001)


@pytest.mark.parametrize(("policy", "idle"), [
    ("dense", False), ({"name": "mote", "without": 0}, True), ({"name": "top-k", "k": 2}, True),
    ({"name": "top-k", "k": 1}, False), ("expert-cache", True), ("teal", False),
    ({"name": "teal", "density": 1.0}, True), ("wanda", False), ("low-bit", False),
    ("lora-experts", True)], ids=str)
def test_a_policy_that_skipped_nothing_says_so(policy: str | dict, idle: bool) -> None:
    assert alone(policy)[2].idle == idle


def test_a_policy_that_finds_none_of_its_layers_says_so(compared, tmp_path: Path) -> None:
    """Two layers without an activation between them are no MLP."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 64))
    with pytest.warns(UserWarning, match="role in a block not recognized"):
        save(hooked(module, torch.randn(16, 64)), tmp_path / "plain.safetensors")
    figures, _, _ = compared("question: And mine?\nmodels: [{trace: plain.safetensors}]\n"
                             "hardware: [nano]\npolicies: [dense, cats, sae-topk, teal]\n")
    assert [point["skipped_nothing"] for point in figures["points"]] == [False, True, True, False]
    for name in ("cats", "sae-topk"):
        assert f"{name} skipped nothing" in figures["answer"]


def test_reports_say_what_skipped_nothing_and_what_bounds(compared) -> None:
    figures, folder, out = compared(
        "question: Which?\nmodels: [{preset: digits, num_layers: 2}]\nhardware: [nano]\n"
        "policies: [dense, {name: mote, without: 0}, {name: teal, density: 0.3}]\n"
        "memory: [{latency: 20, interval: 16}]\n")
    idle = [point["skipped_nothing"] for point in figures["points"]]
    page, words = (folder / "report.html").read_text(), " ".join(out.split())
    assert idle == [False, True, False]
    said = "mote without=0 skipped nothing: it has no fewer multiplications and weight bytes"
    assert all(said in text for text in (figures["answer"], page, words))
    assert figures["points"][0]["bound_by"] == "memory: weights"
    assert "memory: weights" in page
    assert figures["points"][2]["seeded_weights"]
    assert ", seeded" in page
    assert ", seeded" in words
