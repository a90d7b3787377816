"""Accuracy on a folder of images: shares, intervals, labels, and what the host makes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from deltamoe.api.inference import infer
from deltamoe.api.networks import Network
from deltamoe.experiments.evaluation import classes_of, evaluate, ranked, wilson
from deltamoe.golden.config import MODELS
from deltamoe.golden.data.images import digits
from deltamoe.golden.engines import integer_output
from deltamoe.golden.importing.host import Host
from deltamoe.golden.library import Network as Weights
from deltamoe.golden.library import find, untrained
from deltamoe.golden.quantization.quantize import quantize

DENSE = replace(MODELS["digits"], name="dense", num_layers=2, num_classes=())


def folder_of(path: Path, count: int, *, by_class: bool) -> list[int]:
    """Write held-out digits, and return their classes in the order of the names."""
    images, labels = digits("test")
    for index in range(count):
        inside = path / str(int(labels[index])) if by_class else path
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[index][0].numpy()).save(inside / f"{index:03}.png")
    return labels[:count].tolist()


@pytest.mark.parametrize(("hits", "count", "low", "high"), [
    (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0)])
def test_intervals_are_wilson_s(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count) == pytest.approx((low, high), abs=1e-4)


def test_an_equal_score_of_a_lower_class_comes_before() -> None:
    scores = np.array([1.0, 5.0, 5.0, -2.0])
    assert [ranked(scores, label) for label in range(4)] == [2, 0, 1, 3]


def test_folders_are_classes(tmp_path: Path) -> None:
    """Counted by hand, with a picture of the worst: the wrong ones."""
    labels = folder_of(tmp_path / "images", 40, by_class=True)
    evaluation = evaluate("digits", tmp_path / "images", tmp_path / "out")
    network, images = find("digits"), digits("test")[0]
    right = sum(integer_output(network, images[index], 0)[0].predicted == label
                for index, label in enumerate(labels))
    figures = evaluation.to_json()
    assert 0 < right < 40
    assert figures["engines"]["integer"]["top1"] == {
        "share": right / 40, "interval": list(wilson(right, 40))}
    assert figures["engines"]["float"]["images"] == figures["images"] == 40
    assert figures["engines"]["integer"]["top5"]["share"] >= right / 40
    assert figures["labeled"]
    wrong = [row for row in figures["worst"] if row["integer"] != row["label"]]
    assert figures["worst"][: 40 - right] == wrong
    with Image.open(tmp_path / "out" / "accuracy.png") as drawn:
        assert drawn.size[0] > 600


def test_labels_come_from_a_file_or_are_those_of_floating_point(tmp_path: Path) -> None:
    labels = folder_of(tmp_path / "images", 6, by_class=False)
    wrong = [(label + 1) % 10 for label in labels]
    for name, classes, share in (("right", labels, 1.0), ("wrong", wrong, 0.0)):
        (tmp_path / f"{name}.csv").write_text("".join(
            f"{index:03}.png, {label}\n" for index, label in enumerate(classes)))
        evaluation = evaluate("digits", tmp_path / "images", labels=tmp_path / f"{name}.csv")
        assert evaluation.engines["integer"]["top1"]["share"] == share
    unknown = evaluate("digits", tmp_path / "images")
    assert not unknown.labeled
    assert unknown.engines["integer"]["top1"]["share"] == 1.0


def test_folders_without_numbers_are_ordered_by_the_alphabet(tmp_path: Path) -> None:
    paths = [tmp_path / name / "a.png" for name in ("zebra", "cat", "cat10", "cat9")]
    assert classes_of(paths, tmp_path, None) == [3, 0, 1, 2]
    assert classes_of([tmp_path / "a.png"], tmp_path, None) is None


def test_outputs_that_are_no_classes_are_compared_with_floating_point(tmp_path: Path) -> None:
    folder_of(tmp_path / "images", 3, by_class=False)
    weights = untrained(DENSE)
    evaluation = evaluate(Network("dense", DENSE, weights), tmp_path / "images")
    with torch.no_grad():
        images = digits("test")[0][:3]
        real = torch.stack([weights.real(image.float())[0] for image in images]).numpy()
    got = np.stack([integer_output(weights, image, 0)[0].x for image in images]) / 256
    found = evaluation.to_json()["engines"]["integer"]["outputs"]["tokens"]
    assert found["mean_error"] == pytest.approx(np.abs(got - real).mean(), rel=1e-4)
    assert found["largest_error"] == pytest.approx(np.abs(got - real).max(), rel=1e-4)
    assert found["correlation"] == pytest.approx(np.corrcoef(got.ravel(), real.ravel())[0, 1],
                                                 rel=1e-6)
    assert found["correlation"] > 0.999
    ratios = [10 * np.log10((exact**2).sum() / ((value - exact) ** 2).sum())
              for value, exact in zip(got, real, strict=True)]
    assert evaluation.to_json()["engines"]["integer"]["sqnr_db"] == pytest.approx(
        {"mean": np.mean(ratios), "worst": min(ratios)}, rel=1e-5)
    worst = [row["error of tokens"] for row in evaluation.to_json()["worst"]]
    assert worst == sorted(worst, reverse=True)


def test_a_scale_of_the_network_s_own_reaches_the_user(tmp_path: Path) -> None:
    """Tokens in units of one, also where the host makes outputs of them."""
    folder_of(tmp_path / "images", 1, by_class=False)
    real = untrained(DENSE).real
    quantized = quantize(real.double(), digits("train")[0][:4], refined=True)
    assert quantized.residual_scale > 512
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["tokens"], ["own"])], "host",
        [value("tokens", 1, [1, 17, 32])], [value("own", 1, [1, 17, 32])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)],
                                   ir_version=8)
    for host in (None, Host(model.SerializeToString(), "tokens", ("own",))):
        weights = Weights(replace(quantized, host=host), real.float(), None, host)
        network = Network("dense", DENSE, weights)
        result = infer(network, next((tmp_path / "images").iterdir()))
        assert result.sqnr_db > 30
        if host:
            assert np.abs(result.outputs["own"][0] - result.real.x).max() < 0.1
        shown = evaluate(network, tmp_path / "images").to_json()["engines"]["integer"]["outputs"]
        assert shown["own" if host else "tokens"]["largest_error"] < 0.1


@pytest.mark.verilator
def test_the_verilog_computes_a_sample(tmp_path: Path) -> None:
    folder_of(tmp_path / "images", 4, by_class=True)
    evaluation = evaluate("digits", tmp_path / "images", rtl=1)
    assert evaluation.mismatches == 0
    assert evaluation.engines["rtl"]["images"] == 1


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder_of(folder, 2, by_class=False)
    (tmp_path / "few.csv").write_text("000.png,7\n")
    (tmp_path / "bad.csv").write_text("000.png,7\n001.png,seven\n")
    (tmp_path / "high.csv").write_text("000.png,10\n001.png,0\n")
    integers = Path(__file__).parents[2] / "golden/weights/digits.quantized.safetensors"
    for words, options in {
            "few.csv has no class of 001.png": {"labels": tmp_path / "few.csv"},
            "bad.csv, line 2: not NAME,CLASS": {"labels": tmp_path / "bad.csv"},
            "000.png is of class 10; digits has 10": {"labels": tmp_path / "high.csv"},
            r"rtl 3 is not in 0\.\.2": {"rtl": 3}, r"task 2 is not in 0\.\.1": {"task": 2},
            "m3vit-tiny-129 is another network than digits": {"reference": "m3vit-tiny-129"},
    }.items():
        with pytest.raises(ValueError, match=words):
            evaluate("digits", folder, **options)
    with pytest.raises(ValueError, match="no float weights and the images no labels; say --refer"):
        evaluate(integers, folder)
    json.dumps(evaluate(integers, folder, reference="digits").to_json(), allow_nan=False)
