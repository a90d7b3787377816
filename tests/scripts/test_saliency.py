"""The demo of a network that draws a map: its pictures, its figures, what calibration sees."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from torch import Tensor, nn

from deltamoe.api.inference import infer
from deltamoe.api.simulation import simulate
from deltamoe.boards import BOARDS
from deltamoe.boards import hardware as preset
from deltamoe.experiments.saliency import FILES, HARDWARE, NETWORK, SOURCE, demonstrate
from deltamoe.golden.data.photographs import ASPECTS, crops, others, photographs
from deltamoe.heat_map import heat_maps
from deltamoe.host.processes import ProgramError
from deltamoe.host.wheel import packaged
from deltamoe.page import operators, png
from tests.golden.test_onnx import Vit, export, randomized

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


class Mapping(Vit):
    """A vision transformer whose tokens become a map of the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.ConvTranspose2d(32, 1, 4, 4)

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image).flatten(2).transpose(1, 2) + self.position
        for number, layer in enumerate(self.layers):
            x = x + self.attention(layer, layer["norm1"](x))
            x = x + self.mlp(layer, layer["norm2"](x), number)
        return self.decoder(self.norm(x).transpose(1, 2).reshape(1, 32, 4, 4)).sigmoid()


def exported(model: nn.Module, path: Path) -> Path:
    export(randomized(model), path)
    return path


def by_hand(source: Path, image: Path, side: int) -> np.ndarray:
    """Return what ONNX Runtime makes of a picture that lies, filled up with black as it is."""
    with Image.open(image) as picture:
        width, height = picture.size
        small = picture.convert("RGB").resize((side, side * height // width),
                                              Image.Resampling.BOX)
    top = (side - small.size[1]) // 2
    pixels = np.zeros((side, side, 3))
    pixels[top : top + small.size[1]] = np.asarray(small)
    session = onnxruntime.InferenceSession(source)
    made, = session.run(None, {session.get_inputs()[0].name: (
        (pixels / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)})
    return made[0, 0, top : top + small.size[1]]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "wide.png"
    values = np.random.default_rng(4).integers(0, 256, (20, 40, 3), np.uint8)
    Image.fromarray(values).resize((80, 40)).save(path)
    return path


def test_the_page_shows_the_user_s_map(tmp_path: Path, picture: Path) -> None:
    """In floating point it is ONNX Runtime's; pictures, figures and files say the same."""
    source = exported(Mapping(), tmp_path / "net.onnx")
    shown = demonstrate(tmp_path / "out", picture, source=source, hardware="nano")
    expected = by_hand(source, picture, 16)
    assert shown.real.shape == (8, 16)
    assert np.abs(shown.real - expected).max() < 1e-4
    figures, error = shown.to_json(), np.abs(shown.drawn - expected)
    assert figures["map"]["mean_error"] == pytest.approx(error.mean(), abs=1e-4)
    assert figures["map"]["largest_error"] == pytest.approx(error.max(), abs=1e-4)
    assert 0 < figures["map"]["mean_error"] < 0.1
    assert figures["calibration"] == {"crops": 16, "of": ["china", "flower", "grace_hopper"]}
    assert figures["verilog"] is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    with Image.open(tmp_path / "out" / "saliency.png") as drawn:
        assert drawn.size[0] > 900
    text = (tmp_path / "out" / "page.html").read_text()
    assert text.count("data:image/png") == 4
    for words in (f"{figures['cycles']:,}", "frames/s at", "(assumed)", "mJ",
                  f"{figures['sqnr_db']:.1f} dB", "of all; the decoder"):
        assert words in text
    again = infer(tmp_path / "out" / NETWORK, picture)
    assert np.array_equal(again.output.x, shown.run.output.x)
    seen = simulate(tmp_path / "out" / NETWORK, "nano", image=picture,
                    latency=BOARDS["nano"].memory.latency)
    assert seen.cycles == figures["cycles"]


@pytest.mark.verilator
def test_the_verilog_draws_the_same_map(tmp_path: Path, picture: Path) -> None:
    source = exported(Mapping(), tmp_path / "net.onnx")
    shown = demonstrate(tmp_path / "out", picture, engine="rtl", source=source, hardware="nano")
    assert shown.to_json()["verilog"] == {"mismatches": 0, "counters_differing": 0}
    assert shown.agrees
    assert shown.run.ran.counters["cycles"] == shown.simulation.cycles
    assert "from the Verilog" in (tmp_path / "out" / "page.html").read_text()
    integer = demonstrate(tmp_path / "again", picture, source=source, hardware="nano")
    assert np.array_equal(shown.drawn, integer.drawn)


def test_calibration_does_not_see_what_is_judged(tmp_path: Path) -> None:
    """Nor a copy of it; crops lie within their photographs and have the aspects of pictures."""
    shutil.copy(photographs()["flower"], tmp_path / "mine.jpg")
    assert list(others(tmp_path / "mine.jpg")) == ["china", "grace_hopper"]
    sources = others(photographs()["china"])
    assert list(sources) == ["flower", "grace_hopper"]
    drawn = crops(sources, 16, 0)
    assert [name.partition("-")[2] for name in drawn] == ["flower", "grace_hopper"] * 8
    for name, crop in drawn.items():
        width, height = crop.size
        assert min(abs(width / height / aspect - 1) for aspect in ASPECTS) < 0.02
        with Image.open(sources[name.partition("-")[2]]) as whole:
            assert 0.34 * min(whole.size) / 1.5 <= min(crop.size) <= min(whole.size)
    assert len({crop.tobytes() for crop in drawn.values()}) == 16
    assert all(np.array_equal(crop, other) for crop, other in zip(
        drawn.values(), crops(sources, 16, 0).values(), strict=True))


def test_a_network_without_a_map_writes_nothing(tmp_path: Path, picture: Path) -> None:
    source = exported(Vit(), tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="net draws no map; its outputs are "):
        demonstrate(tmp_path / "out", picture, source=source, hardware="nano")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [(4, 3000), (3000, 4), (1, 1)])
def test_pictures_of_any_aspect_are_drawn(size: tuple[int, int]) -> None:
    flat = np.full((2, 3), 0.5)
    assert png(heat_maps(Image.new("L", size), flat, flat)).startswith(b"\x89PNG")


def test_tiles_of_an_operator_are_one_bar() -> None:
    """The first layer of an MLP comes in tiles of tokens; all of them are in its bar."""
    hw = preset(HARDWARE)
    result = simulate("dinov2-small-257", HARDWARE, latency=100).result
    found = operators(result, hw)
    assert len([layer for layer in result.layers if str(layer.label) == "blocks.0.fc1"]) > 1
    assert found["blocks.0.fc1"][0] == 257 * 384 * 1536 / hw.mac_units
    assert sum(map(sum, found.values())) == pytest.approx(result.cycles, rel=1e-3)


@pytest.mark.slow
def test_the_trained_network(tmp_path: Path) -> None:
    """As its own program sees a photograph: near to floating point, in a known network's cycles."""
    try:
        source = packaged(**SOURCE)
    except ProgramError as error:
        pytest.skip(f"the package of the trained network cannot be had: {error}")
    assert hashlib.sha256(source.read_bytes()).hexdigest() == SOURCE["sha256"]
    shown = demonstrate(tmp_path / "out")
    expected = by_hand(source, photographs()["china"], 224)
    assert np.abs(shown.real - expected).max() < 1e-3
    figures = shown.to_json()
    assert figures["sqnr_db"] > 27
    assert figures["map"]["mean_error"] < 0.01
    assert figures["map"]["correlation"] > 0.999
    assert figures["cycles"] == simulate("dinov2-small-257", HARDWARE, latency=100).cycles
    assert "china" not in figures["calibration"]["of"]
