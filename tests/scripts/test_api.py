"""``import deltamoe``: one import for each thing one wants to do, light until it is done."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import deltamoe
from deltamoe.api.inference import infer
from deltamoe.api.networks import Network, load, quantize
from deltamoe.api.program import compile
from deltamoe.api.progress import Progress
from deltamoe.api.result import Pictured, Result
from deltamoe.api.simulation import simulate
from deltamoe.api.sweeps import sweep
from deltamoe.api.traces import trace
from deltamoe.api.verilog import run_verilog
from deltamoe.boards import PRESETS
from deltamoe.golden.config import MODELS
from deltamoe.golden.engines import integer_output
from deltamoe.golden.library import WEIGHTS, default_image, find
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded
from deltamoe.golden.sparsity import hooks
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.label import Role
from deltamoe.sim.facts import from_trace
from deltamoe.sim.machine import simulate as simulate_program
from deltamoe.sim.memory import MemoryModel
from tests.scripts import test_cli
from tests.scripts.sweep.conftest import SPEC

ROOT = Path(__file__).parents[2]
QUANTIZED = WEIGHTS / "digits.quantized.safetensors"
MOST_SECONDS = 1.0
"""Of the import, on a machine that does something else: alone it takes a few milliseconds."""


def alone(code: str) -> subprocess.CompletedProcess:
    """Run code in a process of its own."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, text=True,
                          capture_output=True)


def test_import_is_light_and_quick() -> None:
    """And what it is said to offer is there: nothing more, nothing less."""
    code = ("import sys, time; began = time.perf_counter(); import deltamoe; "
            "seconds = time.perf_counter() - began; "
            "print(seconds, *(name for name in ('torch', 'amaranth', 'numpy', 'rich') "
            "if name in sys.modules)); print(*dir(deltamoe)); "
            "[getattr(deltamoe, name) for name in dir(deltamoe)]")
    done = alone(code)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    seconds, *loaded = first.split()
    assert float(seconds) < MOST_SECONDS
    assert loaded == []
    assert second.split() == [
        "Device", "HARDWARE", "MODELS", "build", "compare", "compile", "import_network", "load",
        "quantize", "run_verilog", "simulate", "sweep", "trace"]
    with pytest.raises(AttributeError, match="'deltamoe' has no attribute 'nosuch'"):
        _ = deltamoe.nosuch


@pytest.mark.parametrize("code", [
    "deltamoe.MODELS, deltamoe.HARDWARE",
    "deltamoe.load('m3vit-tiny-129').table()",
    "deltamoe.compile('digits').to_json()",
    "deltamoe.simulate('digits').table()",
    "deltamoe.Device; from deltamoe.boards.driver import uio",
])
def test_presets_need_neither_torch_nor_amaranth(code: str) -> None:
    done = alone(f"import sys, deltamoe; {code}; "
                 "sys.exit(not sys.modules.keys().isdisjoint({'torch', 'amaranth'}))")
    assert done.returncode == 0, done.stderr


def shown(result: Result) -> str:
    """What a notebook shows; what a program gets is JSON."""
    json.dumps(result.to_json(), allow_nan=False)
    page = result._repr_html_()
    assert "<pre" in page
    assert ("data:image/png;base64," in page) == isinstance(result, Pictured)
    return page


def test_load_builds_when_asked() -> None:
    preset, file = load("digits"), load(QUANTIZED)
    assert preset.preset
    assert not file.preset
    assert "weights" not in vars(preset)
    for name, tensor in QuantizedModel.load(QUANTIZED).tensors.items():
        assert torch.equal(preset.weights.quantized[name], tensor)
        assert torch.equal(file.weights.quantized[name], tensor)
    assert preset.to_json()["weights"] == "trained"
    assert file.to_json()["weights"] == "given"
    assert load("m3vit-tiny-129").to_json()["macs"] == 782_719_488
    assert "637,440" in shown(preset)  # multiplications of digits, as deltamoe list has them


def test_compiled_program_is_the_compiler_s() -> None:
    compilation = compile("digits", task=1, policy="zero-skip")
    program = compile_program(find("digits").quantized, PRESETS["nano"], 1, compilation.plan)
    assert compilation.program.descriptors == program.descriptors
    assert compilation.outline.labels == program.labels
    assert np.array_equal(compilation.program.memory, program.memory)
    figures = compilation.to_json()
    assert sum(figures["descriptors"].values()) == len(program.descriptors)
    assert sum(figures["bytes"].values()) == program.size
    assert f"{sum(label.role == Role.LOAD for label in program.labels)}" in shown(compilation)


def test_simulation_is_the_simulator_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture) -> None:
    """By each way to say the same; and the command writes what the function returns."""
    config = find("digits").quantized.config
    pixels = default_image(config)
    Image.fromarray(pixels[0].numpy()).save(tmp_path / "digit.png")
    facts = from_trace(integer_output(find("digits"), pixels, 1)[1], config)
    expected = simulate_program(compile_program(find("digits").quantized, PRESETS["nano"], 1),
                                facts, MemoryModel(40, 2)).counters
    options = {"latency": 40, "interval": 2, "fps": 10.0}
    ways = [simulate("digits", task=1, **options),
            simulate(compile(load("digits"), PRESETS["nano"], task=1), **options),
            simulate(QUANTIZED, "nano", task=1, image=tmp_path / "digit.png", **options)]
    for simulation in ways:
        assert dict(simulation.result.counters) == expected
        assert simulation.cycles == expected["cycles"]
    assert f"{expected['cycles']:,} cycles" in shown(ways[0])
    code, out, _ = test_cli.run(monkeypatch, capsys, "simulate", "digits", "--task", 1,
                                "--latency", 40, "--interval", 2, "--fps", 10, "--json", "-")
    assert code == 0
    assert json.loads(out) | {"seconds": 0} == ways[0].to_json() | {"seconds": 0}


@pytest.mark.parametrize("policy", ["zero-skip", "delta", "token-gate"])
def test_policies_need_an_image(policy: str, tmp_path: Path) -> None:
    """The first frame of what remembers is whole, so it makes no fewer products than dense."""
    Image.fromarray(default_image(find("digits").quantized.config)[0].numpy()).save(
        tmp_path / "digit.png")
    with pytest.raises(ValueError, match=f"policy {policy} needs an image"):
        simulate("digits", policy=policy)
    macs = simulate("digits", policy=policy, image=tmp_path / "digit.png").result.counters["macs"]
    dense = simulate("digits", image=tmp_path / "digit.png").result.counters["macs"]
    assert macs < dense if policy == "zero-skip" else macs <= dense


BAD = {
    "'nosuch' is neither": lambda: load("nosuch"),
    "hardware 'nosuch' is not one of": lambda: compile("digits", "nosuch"),
    "policy 'nosuch' is not one of": lambda: compile("digits", policy="nosuch"),
    "task 2 is not in 0..1": lambda: compile("digits", task=2),
    "frames 0 is not at least 1": lambda: compile("digits", frames=0),
    "embed_dim=192 exceeds nano's maximum 64": lambda: compile("m3vit-tiny-129"),
    "hardware, task: the program is compiled for nano, task 0, policy dense": (
        lambda: simulate(compile("digits"), "nano", task=0)),
    "frames 2: the facts of one image": lambda: simulate(compile("digits", frames=2)),
    "frames 1, policy delta: one image is run": (
        lambda: run_verilog(compile("digits", policy="delta"))),
    "latency 0": lambda: simulate("digits", latency=0),
    "'nosuch' is not one of asic_28nm": lambda: simulate("digits", energy_table="nosuch"),
    "model 'nosuch' is neither a": lambda: quantize("nosuch", "."),
    "nosuch is not a folder": lambda: quantize("digits", "nosuch"),
    "study: models[0]: 'nosuch' is not one of": lambda: deltamoe.compare(
        {"question": "?", "models": ["nosuch"], "hardware": ["nano"]}),
    "'nosuch' is neither a .yaml file nor one of attention": lambda: deltamoe.compare("nosuch"),
    "'nosuch' is neither a .yaml file nor one of sweep-": lambda: sweep("nosuch"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_one_line(message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        BAD[message]()
    assert message in str(refused.value)


@pytest.mark.verilator
def test_verilog_differs_in_nothing(tmp_path: Path) -> None:
    """Nor does a program that skips zeros; and a wrong image is told from a right one."""
    for policy in ("dense", "zero-skip"):
        verified = run_verilog(compile("digits", policy=policy), trace=tmp_path / "t.json")
        assert verified.mismatches == 0
        assert (verified.counters_differing, verified.spans_differing) == (0, 0)
        assert verified.ran.counters["cycles"] > 0
        assert verified.to_json()["trace"] == str(tmp_path / "t.json")
        assert "rtl" in shown(verified)
    config = load("digits").config
    Image.fromarray(np.zeros((config.image_height, config.image_width), np.uint8)).save(
        tmp_path / "black.png")
    black = run_verilog("digits", image=tmp_path / "black.png")
    assert black.output.sha256 != verified.output.sha256


class Watched(Progress):
    """Notes how many steps each piece of work has."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    def each(self, steps, what, total=None):
        done = 0
        for step in steps:
            yield step
            done += 1
        self.seen.append((what, done))


def test_compare_answers_a_mapping(tmp_path: Path) -> None:
    """The figures of a dense point are the simulator's; all points are told of."""
    watched = Watched()
    comparison = deltamoe.compare({
        "question": "Does a slow memory hurt?", "models": ["digits"], "hardware": ["nano"],
        "memory": [{"latency": 20}, {"latency": 20, "interval": 4}]}, progress=watched)
    assert watched.seen == [("points", 2)]
    for outcome, interval in zip(comparison.outcomes, (1, 4), strict=True):
        assert outcome.cycles == simulate("digits", interval=interval).cycles
    assert comparison.to_json()["answer"] == comparison.answer
    assert "Does a slow memory hurt?" in shown(comparison)
    comparison.write(tmp_path / "report")
    assert (tmp_path / "report" / "report.html").exists()
    assert len(comparison.csv().splitlines()) == 3


def test_sweep_goes_on(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("points: 40", "points: 4"))
    first = sweep(tmp_path / "spec.yaml", tmp_path / "out", workers=1)
    again = sweep(tmp_path / "spec.yaml", tmp_path / "out", workers=1)
    assert (first.evaluated, again.evaluated) == (4, 0)
    timing = dict.fromkeys(("seconds", "processor_seconds", "evaluated"))
    assert first.to_json() | timing == again.to_json() | timing
    assert len(first.csv().splitlines()) == 5
    assert "4 designs" in shown(first)


def test_quantize_makes_a_network_that_runs(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(default_image(load("digits").config)[0].numpy()).save(folder / "a.png")
    quantization = quantize(WEIGHTS / "digits.safetensors", folder, tmp_path / "q.safetensors")
    assert quantization.to_json()["out"] == str(tmp_path / "q.safetensors")
    assert len(quantization.to_json()["blocks"]) == 4
    assert quantization.worst.own == min(block.own for block in quantization.noise)
    kept = load(tmp_path / "q.safetensors").weights.quantized
    assert all(torch.equal(quantization.network.weights.quantized[name], tensor)
               for name, tensor in kept.tensors.items())
    assert isinstance(quantization.network, Network)
    assert not quantization.network.preset
    assert simulate(quantization.network).cycles > 0
    assert f"block {quantization.worst.layer} loses most" in shown(quantization)
    unsaved = quantize(WEIGHTS / "digits.safetensors", folder)
    assert unsaved.to_json()["out"] is None


def test_a_network_of_another_program_loads_by_its_path(tmp_path: Path) -> None:
    """In floating point, until it is quantized: so what needs integers says so."""
    config = replace(MODELS["digits"], num_classes=())
    torch.save(seeded(config, 0), tmp_path / "own.pth")
    with pytest.raises(ValueError, match="say --heads"):
        load(tmp_path / "own.pth")
    network = load(tmp_path / "own.pth", heads=2, top_k=2, preprocessing="edge-moe")
    assert network.config == replace(config, name="own")
    assert network.known.quantized is None
    assert infer(network, engine="float").output.x.shape == (17, 32)
    for call in (infer, simulate):
        with pytest.raises(ValueError, match="own is in floating point; deltamoe quantize"):
            call(network)


def test_trace_counts_and_saves(tmp_path: Path) -> None:
    """Two layers of 3 x 8 times 16 x 8 and 4 x 16; the file is a model of a study."""
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.ReLU(), nn.Linear(16, 4, bias=False))
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    recorded = trace(model, x)
    rows = {row["name"]: row for row in recorded.to_json()["products"]}
    assert [(row["rows"], row["depth"], row["columns"]) for row in rows.values()] == [
        (3, 8, 16), (3, 16, 4)]
    hidden = torch.relu(x @ model[0].weight.T)
    assert list(rows.values())[1]["density"] == pytest.approx(
        float((hidden > hidden.max() / 254).double().mean()))
    assert recorded.to_json()["macs"] == 3 * 8 * 16 + 3 * 16 * 4
    assert "sees 100 % of the MACs" in shown(recorded)
    recorded.save(tmp_path / "t.safetensors")
    compared = deltamoe.compare({"question": "?", "models": [
        {"trace": str(tmp_path / "t.safetensors")}], "hardware": ["nano"]})
    assert compared.outcomes[0].counters["macs"] == recorded.to_json()["macs"]
    assert list(map(str, hooks.trace(model, x).products)) == list(rows)


@pytest.mark.verilator
def test_example_of_the_readme(capsys: pytest.CaptureFixture) -> None:
    """Its cycles are those of the table of results."""
    text = (ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    exec(code, {})
    figures, mismatches, answer = capsys.readouterr().out.splitlines()
    cycles = int(figures.split()[0])
    assert f"| m3vit-tiny-129 on `zcu102`, one frame | {cycles:,} and " in text
    assert mismatches == "0"
    assert answer.startswith("Frames/s (rtl) in multiples of those of dense: zero-skip ")
