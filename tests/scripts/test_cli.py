"""The command line: bad input ends in one line and exit code 2; good input in the JSON promised."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deltamoe import cli
from deltamoe.api.result import finite
from deltamoe.experiments import training
from deltamoe.experiments.tallies import Cell
from deltamoe.golden.config import MODELS
from deltamoe.golden.library import WEIGHTS
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.golden.temporal.tally import Tally

DIGITS = WEIGHTS / "digits.safetensors"
QUANTIZED = WEIGHTS / "digits.quantized.safetensors"


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: object,
        ) -> tuple[int, str, str]:
    """Return the exit code, what went to stdout and what went to stderr."""
    monkeypatch.setattr(sys, "argv", ["deltamoe", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.start()
    out, err = capsys.readouterr()
    return stopped.value.code or 0, out, err


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of good and bad input."""
    (tmp_path / "images").mkdir()
    (tmp_path / "empty").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    for name, size in (("good.png", (8, 8)), ("wide.png", (9, 8))):
        Image.fromarray(pixels).resize(size).save(tmp_path / name)
    Image.fromarray(pixels).save(tmp_path / "images" / "good.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    for name, path in (("float", DIGITS), ("quantized", QUANTIZED)):
        content = path.read_bytes()
        for part, length in (("half", len(content) // 2), ("head", 5), ("none", 0)):
            (tmp_path / f"{name}-{part}.safetensors").write_bytes(content[:length])
    return tmp_path


INFER = "infer digits --image good.png"
QUANTIZE = "quantize --images images --out out.safetensors"
BAD = {
    "infer nosuch --image good.png": "'nosuch'",
    "infer nosuch.safetensors --image good.png": "nosuch.safetensors",
    "infer quantized-half.safetensors --image good.png": "quantized-half.safetensors",
    "infer quantized-head.safetensors --image good.png": "quantized-head.safetensors",
    "infer quantized-none.safetensors --image good.png": "quantized-none.safetensors",
    f"infer {DIGITS} --image good.png": "is in floating point; deltamoe quantize",
    f"infer {QUANTIZED} --image good.png --engine float": "no float weights",
    "infer digits --image nosuch.png": "nosuch.png",
    "infer digits --image images": "images",
    "infer digits --image text.png": "not an image",
    "infer digits --image cut.png": "cut.png",
    "infer digits --image wide.png": "9x8, digits takes 8x8",
    f"{INFER} --task 2": "task 2 is not in 0..1",
    f"{INFER} --task -1": "task -1 is not in 0..1",
    f"{INFER} --hardware nosuch": "'nosuch' is not one of nano",
    f"{INFER} --engine nosuch": "'nosuch' is not one of float, integer, rtl",
    f"{INFER} --json nosuch/out.json": "no folder nosuch",
    f"{INFER} --trace t.json": "--trace needs --engine rtl, not integer",
    f"{INFER} --engine rtl --trace nosuch/t.json": "no folder nosuch",
    "simulate nosuch": "'nosuch'",
    "simulate digits --task 2": "task 2 is not in 0..1",
    "simulate digits --task -1": "task -1 is not in 0..1",
    "simulate digits --mode nosuch": "'nosuch'",
    "simulate digits --mode zero-skip": "--image",
    "simulate digits --latency 0": "latency 0",
    "simulate digits --interval 0": "interval 0",
    "simulate vit-base-197 --hardware ulx3s": "vit-base-197: embed_dim=768 exceeds ulx3s",
    "simulate m3vit-tiny-197 --hardware ulx3s": "maximum 12384; with 129 tokens it would fit",
    "bench --only nosuch": (
        "'nosuch' is not one of frames, bandwidth, sparsity, simulator, gates, larger, clock, "
        "sdram"),
    "synth --hardware nosuch": "'nosuch' is not one of nano",
    "synth --target nosuch": "'nosuch' is not one of xcup, ecp5",
    "synth --unit nosuch": "'nosuch' is not one of Accelerator",
    "synth --json nosuch/out.json": "no folder nosuch",
    "synth --estimate --target ecp5": "--estimate knows all of the accelerator on xcup",
    "sweep nosuch": "'nosuch' is neither a .yaml file nor one of sweep-zcu102",
    "sweep good.png": "'good.png' is neither a .yaml file nor one of sweep-zcu102",
    "sweep images": "images",
    "sweep sweep-zcu102 --csv nosuch/points.csv": "no folder nosuch",
    "sweep sweep-zcu102 --json nosuch/out.json": "no folder nosuch",
    "sweep sweep-zcu102 --out good.png": "good.png",
    "place-and-route --hardware nosuch": "'nosuch' is not one of nano",
    "place-and-route --target xcup": "target 'xcup' is not one of ecp5",
    "place-and-route --unit nosuch": "'nosuch' is not one of Accelerator",
    "place-and-route --clock 0": "clock 0 is not in 1..1000 MHz",
    "place-and-route --clock nan": "clock nan is not in 1..1000 MHz",
    "place-and-route --seed -1": "seed -1 is not in",
    "place-and-route --json nosuch/out.json": "no folder nosuch",
    "bitstream --out new --board nosuch": "board 'nosuch' is not one of ulx3s",
    "bitstream --out new --hardware zcu102": "hardware 'zcu102' is not one of nano, ulx3s",
    "bitstream --out new --clock-mhz 19": "clock 19 is not in 20..100 MHz",
    "bitstream --out new --clock-mhz nan": "clock nan is not in 20..100 MHz",
    "bitstream --out new --seed -1": "seed -1 is not in 0..",
    "bitstream --out new --baud 300": "baud 300 is not in 9600..3000000",
    "bitstream --out images": "images exists already",
    "bitstream --out new --json new/out.json": "new/out.json is no file beside new",
    "bitstream --out new --json nosuch/out.json": "no folder nosuch",
    "simulate digits --energy-table nosuch": "'nosuch' is not one of asic_28nm, fpga, nor a file",
    "simulate digits --energy-table good.png": "good.png: not JSON",
    "simulate digits --clock-mhz 0": "clock 0.0 MHz is not above 0",
    "simulate digits --fps -1": "fps -1.0 is not at least 0",
    "simulate digits --fps 1e9": "fps 1e+09 is more than",
    "simulate digits --image wide.png": "9x8",
    "simulate digits --trace nosuch/trace.json": "no folder nosuch",
    "simulate m3vit-tiny-129": "embed_dim=192 exceeds nano's maximum 64",
    f"{QUANTIZE} nosuch": "nosuch",
    f"{QUANTIZE} float-half.safetensors": "float-half.safetensors",
    f"{QUANTIZE} deit-tiny-197": "good.png: image is 8x8, deit-tiny-197 takes 224x224",
    f"{QUANTIZE} {QUANTIZED}": "is quantized already",
    "import nosuch --out out.safetensors": "nosuch does not exist",
    "import good.png --out out.safetensors": "good.png is not a complete PyTorch checkpoint",
    "import images --out out.safetensors": "images holds neither model.safetensors",
    f"import {DIGITS} --out nosuch/o.safetensors": "no folder nosuch",
    f"import {DIGITS} --out o.pth": "o.pth: the name of a network's file ends with .safetensors",
    f"import {DIGITS} --out o.safetensors --mean 0.5": "--std is missing",
    f"import {DIGITS} --out o.safetensors --mean 0.5 --std 0": "std=(0.0,)",
    f"import {DIGITS} --out o.safetensors --mean x --std 1": "mean='x' is not one number",
    f"import {DIGITS} --out o.safetensors --preprocessing nosuch": (
        "'nosuch' is neither a file nor one of imagenet, half, edge-moe"),
    f"import {DIGITS} --out o.safetensors --interpolation box": "--interpolation needs",
    f"import {DIGITS} --out o.safetensors --image 8y8": "'8y8' is not HEIGHTxWIDTH",
    f"import {DIGITS} --out o.safetensors --heads 0": "heads=0 is not a positive integer",
    f"import {DIGITS} --out o.safetensors --calibrate nosuch": "nosuch is not a folder",
    f"quantize {DIGITS} --images nosuch --out out.safetensors": "nosuch is not a folder",
    f"quantize {DIGITS} --images images --out o.pth": (
        "o.pth: the name of a network's file ends with .safetensors"),
    f"quantize {DIGITS} --images empty --out out.safetensors": "holds no image",
    f"quantize {DIGITS} --images . --out out.safetensors": ".png",
    f"quantize {DIGITS} --images images --out nosuch/out.safetensors": "no folder nosuch",
    "video nosuch --input generator:fixed": "'nosuch'",
    "video digits --hardware nano --input nosuch": "neither a folder of images nor a video file",
    "video digits --hardware nano --input generator:nosuch": "is not one of generator:fixed",
    "video digits --hardware nano --input empty": "holds no image",
    "video digits --hardware nano --input text.png": "text.png: not an image file of a known kind",
    "video digits --hardware nano --input generator:pan --policy nosuch": (
        "'nosuch' is not one of dense, zero-skip, delta, token-gate, auto"),
    "video digits --hardware nano --input generator:pan --policy delta --theta -1": "theta=-1",
    "video digits --hardware nano --input generator:pan --policy dense --theta 1": "theta=1",
    "video digits --hardware nano --input generator:pan --frames 0": "frames 0",
    "video digits --hardware nano --input generator:pan --task 2": "task 2 is not in 0..1",
    "video digits --hardware nano --input generator:pan --engine nosuch": "'nosuch' is neither",
    "video digits --hardware nano --input generator:pan --energy-table nosuch": "'nosuch'",
    "video digits --hardware nano --input generator:pan --seed -1": "seed=-1",
    "video digits --hardware nano --input generator:pan --json nosuch/v.json": "no folder nosuch",
    "video m3vit-tiny-129 --hardware ulx3s --input generator:pan --policy delta": (
        "ulx3s keeps nothing from frame to frame"),
    "train nosuch": "'nosuch' is not digits",
    "train digits --delta --rtl": "--rtl is for images",
    "train digits --delta --count 313": "count 313 is not in 1..312",
    "train digits --delta --json nosuch/t.json": "no folder nosuch",
    "accuracy nosuch": "'nosuch'",
    "accuracy digits --theta -1": "theta -1",
    "accuracy digits --count 361": "count 361 is not in 1..360",
    "accuracy digits --seed -1": "seed -1",
    "accuracy digits --json nosuch/a.json": "no folder nosuch",
    "accuracy quantized-half.safetensors": "quantized-half.safetensors",
    "accuracy digits --out good.png": "good.png",
    "accuracy digits --rtl 1": "--labels, --reference and --rtl need --images",
    "accuracy digits --images nosuch": "nosuch is not a folder",
    "nosuch": "No such command 'nosuch'",
    "--nosuch": "No such option: --nosuch",
    "infer digits": "Missing option '--image'",
    "infer --image good.png": "Missing argument",
    "infer digits more --image good.png": "unexpected extra argument",
    "infer digits --image": "'--image' requires an argument",
    "simulate digits --nosuch": "No such option: --nosuch",
    "simulate digits --latency x": "Invalid value for '--latency'",
    "sweep sweep-zcu102 --workers 0": "Invalid value for '--workers'",
    "list --json nosuch/l.json": "no folder nosuch",
    "bench --json nosuch/b.json": "no folder nosuch",
    "compare --json nosuch/c.json": "no folder nosuch",
    "demo --json nosuch/d.json": "no folder nosuch",
    "demo nosuch": "demo 'nosuch' is not one of digits, saliency",
    "demo --image good.png": "--image is for demo saliency",
    "demo digits --engine rtl": "--engine is for demo saliency",
    "demo saliency --engine nosuch": "engine 'nosuch' is not one of integer, rtl",
    "demo saliency --image text.png": "text.png: not an image file of a known kind",
    "demo saliency --image nosuch.png": "nosuch.png",
    "demo saliency --out good.png": "good.png is no folder",
    "verilog --out out --json nosuch/v.json": "no folder nosuch",
    "verilog --hardware nosuch --out out": "'nosuch' is not one of nano",
    "verilog --out good.png": "good.png",
    "package --as nosuch --out out": "--as 'nosuch' is not one of fusesoc",
    "package --as vivado --out out": "hardware 'nano' with --as vivado is not one of zcu102",
    "package --out out": "Missing option '--as'",
    "package --as fusesoc --hardware nosuch --out out": "'nosuch' is not one of nano",
    "package --as fusesoc --out out --json nosuch/p.json": "no folder nosuch",
    "build nosuch --out out": "'nosuch' is neither",
    "build digits --out out --hardware nosuch": "'nosuch' is not one of nano",
    "build digits --out out --task 2": "task 2 is not in 0..1",
    "build digits --out out --json nosuch/b.json": "no folder nosuch",
    "build digits --out out --json out/program.bin": "out/program.bin would overwrite",
    "build digits --out good.png": "good.png is no folder",
    "build m3vit-tiny-129 --out out": "embed_dim=192 exceeds nano's maximum 64",
    f"build {DIGITS} --out out": "is in floating point; deltamoe quantize",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line(line: str, files: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(files)
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    code, out, err = run(monkeypatch, capsys, *line.split())
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert BAD[line] in err
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


def test_infer_json(files: Path, monkeypatch: pytest.MonkeyPatch,
                    capsys: pytest.CaptureFixture) -> None:
    hashes = {}
    for model in ("digits", QUANTIZED):
        for task in (0, 1):
            code, out, _ = run(monkeypatch, capsys, "infer", model, "--image", files / "good.png",
                               "--task", task, "--json", "-")
            assert code == 0
            result = json.loads(out)
            assert result.keys() >= {
                "model", "hardware", "engine", "task", "output_sha256", "sqnr_db"}
            hashes[model, task] = result["output_sha256"]
            assert (result["sqnr_db"] is None) == (model == QUANTIZED)
    assert hashes["digits", 0] == hashes[QUANTIZED, 0] != hashes["digits", 1]


def test_simulate_json_adds_up(files: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture) -> None:
    code, out, _ = run(monkeypatch, capsys, "simulate", "digits", "--image", files / "good.png",
                       "--json", files / "out.json", "--trace", files / "trace.json")
    assert code == 0
    assert "cycles" in out
    result = json.loads((files / "out.json").read_text())
    assert sum(layer["macs"] for layer in result["layers"]) == result["macs"]
    assert result["utilization"] == result["macs"] / result["cycles"] / result["mac_units"]
    assert result["counters"]["cycles"] == result["cycles"]
    spent = result["energy_pj"]
    for bound in ("low", "typical", "high"):
        for key in ("component", "operand", "kind", "layer"):
            assert spent[bound] == pytest.approx(
                sum(part[bound] for part in spent[f"by_{key}"].values()), rel=1e-9)
    assert {layer["name"] for layer in result["layers"]} <= spent["by_layer"].keys()
    assert (spent["table"], spent["kind"], spent["clock_mhz"]) == ("asic_28nm", "asic", 100)
    assert "device_static" in spent["gaps"]
    assert spent["low"] < spent["typical"] < spent["high"]
    events = json.loads((files / "trace.json").read_text())["traceEvents"]
    assert max(event["ts"] + event["dur"] for event in events if event["ph"] == "X"
               ) <= result["cycles"]


def test_import_then_infer(files: Path, monkeypatch: pytest.MonkeyPatch,
                           capsys: pytest.CaptureFixture) -> None:
    """Pictures of any size, in a folder for each class; mean and std count."""
    config = replace(MODELS["digits"], num_tasks=1, num_classes=(10,), num_experts=0, top_k=0,
                     expert_dim=0)
    torch.save({"model": seeded(config, 0), "epoch": 3}, files / "own.pth")
    for label in ("cats", "dogs"):
        (files / "pictures" / label).mkdir(parents=True)
        Image.open(files / "whole.png").save(files / "pictures" / label / "a.png")
    hashes = {}
    for name, options in {"half": ["--preprocessing", "half"],
                          "same": ["--mean", "0.5", "--std", "0.5"],
                          "other": ["--mean", "0.1", "--std", "0.3"]}.items():
        out, result = files / f"{name}.safetensors", files / f"{name}.json"
        code, text, _ = run(monkeypatch, capsys, "import", files / "own.pth", "--heads", "2",
                            "--out", out, "--calibrate", files / "pictures", "--json", result,
                            *options)
        assert code == 0
        assert "container 'model' used" in " ".join(text.split())
        figures = json.loads(result.read_text())
        assert (figures["family"], figures["quantization"]["images"]) == ("timm", 2)
        assert figures["preprocessing"]["crop"] == [8, 8]
        code, _, _ = run(monkeypatch, capsys, "infer", out, "--image", files / "wide.png", "--json",
                         result)
        assert code == 0
        hashes[name] = json.loads(result.read_text())["output_sha256"]
    assert hashes["half"] == hashes["same"] != hashes["other"]
    code, _, _ = run(monkeypatch, capsys, "simulate", files / "half.safetensors", "--image",
                     files / "wide.png")
    assert code == 0


def test_quantize_then_infer(files: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture) -> None:
    out = files / "new.safetensors"
    code, text, _ = run(monkeypatch, capsys, "quantize", DIGITS, "--images",
                        files / "images", "--out", out, "--json", "-")
    assert code == 0
    assert [block["layer"] for block in json.loads(text)["blocks"]] == [0, 1, 2, 3]
    code, text, _ = run(monkeypatch, capsys, "infer", out, "--image", files / "good.png",
                        "--json", "-")
    assert code == 0
    assert json.loads(text)["predicted"] in range(10)


def test_verilog_is_the_same_every_time(files: Path, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture) -> None:
    for folder in ("a", "b"):
        code, _, _ = run(monkeypatch, capsys, "verilog", "--out", files / folder)
        assert code == 0
    for name in ("deltamoe.v", "deltamoe.json", "deltamoe.vlt"):
        assert (files / "a" / name).read_bytes() == (files / "b" / name).read_bytes()
    ports = json.loads((files / "a" / "deltamoe.json").read_text())
    assert "m_axi_araddr" in json.dumps(ports)


def test_list_names_every_preset(monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture) -> None:
    code, out, _ = run(monkeypatch, capsys, "list", "--json", "-")
    assert code == 0
    result = json.loads(out)
    macs = {model["name"]: model["macs"] for model in result["models"]}
    assert macs["m3vit-tiny-129"] == 782_719_488
    assert {hw["name"] for hw in result["hardware"]} >= {"nano", "zcu102"}
    policies = {policy["name"]: policy for policy in result["policies"]}
    assert policies["delta"]["executes"] == "rtl"
    assert policies["teal"]["parameters"]["density"] == {
        "default": 0.5, "low": 0.0, "high": 1.0, "meaning": "share of the elements kept"}
    assert {policy["family"] for policy in policies.values()} == {
        "routing", "activation", "temporal", "attention", "weights"}
    code, out, _ = run(monkeypatch, capsys, "list")
    assert code == 0
    assert all(name in out for name in policies)
    shown = " ".join(out.split())
    for name, policy in policies.items():
        assert policy["differs"] == MECHANISMS[name].differs
        assert not policy["differs"] or f" {name} {policy['differs']}" in shown


@pytest.mark.parametrize("policy", ["dense", "zero-skip", "delta", "token-gate", "auto"])
def test_video_json(policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                    capsys: pytest.CaptureFixture) -> None:
    """Exact policies differ in no element; the first frame is whole; a picture is drawn."""
    code, out, _ = run(monkeypatch, capsys, "video", "digits", "--hardware", "nano", "--input",
                       "generator:fixed", "--policy", policy, "--frames", 3, "--out", tmp_path,
                       "--json", "-")
    assert code == 0
    figures = json.loads(out)
    assert [frame["mismatches"] for frame in figures["frames"]] == [0, 0, 0]
    assert {frame["sqnr_db"] for frame in figures["frames"]} == {None}
    for frame in figures["frames"]:
        assert frame["speedup"] == frame["dense_cycles"] / frame["cycles"]
        assert 0 < frame["energy_low_pj"] < frame["energy_pj"] < frame["energy_high_pj"]
        assert frame["bytes"] > 0
    first, *later = figures["frames"]
    if policy in {"delta", "token-gate"}:
        assert policy in figures["operators"].values()
        assert first["density"] == 1
    if policy == "delta":
        assert max(frame["density"] for frame in later) < 0.9
    if policy == "auto":
        assert figures["summary"]["speedup"] > 1
    if policy == "dense":
        assert first["density"] == figures["summary"]["speedup"] == 1
    with Image.open(tmp_path / "video.png") as drawn:
        assert drawn.size[0] > 500


def test_video_with_theta_loses_bits_and_gains_speed(monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture) -> None:
    by_theta = []
    for theta in (0, 2):
        _, out, _ = run(monkeypatch, capsys, "video", "digits", "--hardware", "nano", "--input",
                        "generator:fixed", "--policy", "delta", "--frames", 3, "--theta", theta,
                        "--json", "-")
        by_theta.append(json.loads(out))
    assert by_theta[1]["summary"]["density"] < by_theta[0]["summary"]["density"]
    assert by_theta[1]["summary"]["speedup"] > by_theta[0]["summary"]["speedup"]
    assert 0 < by_theta[1]["frames"][2]["sqnr_db"] < 60


def test_accuracy_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                       capsys: pytest.CaptureFixture) -> None:
    """Theta 0 is exact; a large one sends less and is not; a picture is drawn."""
    code, out, err = run(monkeypatch, capsys, "accuracy", "digits", "--count", 1, "--theta", 8,
                         "--theta", 0, "--out", tmp_path, "--json", "-")
    assert code == 0, err
    rows = {(row["kind"], row["theta"], row["task"]): row for row in json.loads(out)["rows"]}
    assert len(rows) == 3 * 2 * 2
    for (kind, theta, task), row in rows.items():
        assert 0 <= row["accuracy"] <= 1
        assert (row["sqnr_db"] is None) == (theta == 0)
        assert row["density"] <= rows[kind, 0, task]["density"] < 1
        if theta:
            assert 0 < row["sqnr_db"] < 60
            assert row["events_per_frame"] < rows[kind, 0, task]["events_per_frame"]
    with Image.open(tmp_path / "accuracy.png") as drawn:
        assert drawn.size[0] > 800


def test_train_delta_compares_the_same_sequences(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Training is replaced by two known networks, the counting by counts worked by hand."""
    trained = []

    def made(model: object, *, delta: bool, seed: int, progress: object) -> QuantizedModel:
        trained.append((delta, seed))
        return QuantizedModel.load(QUANTIZED)

    def counted(networks: dict, thetas: list[int], count: int, seed: int, *_: object) -> dict:
        assert (list(networks), thetas, count, seed) == (["without", "with"], [0], 9, 4)
        return {Cell("without", "noisy", 0): [Tally(100, 90, 5000, 1000, 8000, 10000)],
                Cell("with", "noisy", 0): [Tally(100, 89, 2500, 1000, 2000, 10000)]}

    monkeypatch.setattr(training, "train_on_sequences", made)
    monkeypatch.setattr(training, "tallies", counted)
    code, out, err = run(monkeypatch, capsys, "train", "digits", "--delta", "--count", 9, "--seed",
                         4, "--out", tmp_path, "--json", "-")
    assert code == 0, err
    result = json.loads(out)
    assert trained == [(False, 4), (True, 4)]
    assert result["summary"] == pytest.approx({
        "fewer_events": 2, "fewer_followed_events": 4000 / 1500, "fewer_macs": 4,
        "points_lost_digit": 1})
    assert [row["events_per_frame"] for row in result["rows"]] == [50, 25]
    written, committed = (QuantizedModel.load(path) for path in (  # whose metadata has no order
        tmp_path / "digits-delta.quantized.safetensors", QUANTIZED))
    assert written.config == committed.config
    assert written.tensors.keys() == committed.tensors.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in committed.tensors.items())


def test_a_result_may_go_into_the_folder_that_its_command_makes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(monkeypatch, capsys, "simulate", "digits", "--accelergy", "a/b", "--trace",
                       "a/b/trace.json", "--json", "a/cycles.json")
    assert (code, err) == (0, "")
    assert json.loads(Path("a/cycles.json").read_text())["cycles"] > 0
    assert json.loads(Path("a/b/trace.json").read_text())["traceEvents"]


def test_no_words_at_all_show_the_commands(monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture) -> None:
    code, out, err = run(monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert all(f" {name} " in out for name in cli.COMMANDS)


def test_json_has_no_infinity() -> None:
    result = {"sqnr_db": float("inf"), "blocks": [{"own": float("-inf")}, (float("nan"), 1.5, 2)]}
    assert finite(result) == {"sqnr_db": None, "blocks": [{"own": None}, [None, 1.5, 2]]}
