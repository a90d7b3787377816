"""The digits, built for the smallest design, what comes out of them, and a model to run them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import deltamoe
from deltamoe.api.building import Build
from deltamoe.boards import PRESETS
from deltamoe.boards.driver.device import Backend
from deltamoe.boards.driver.manifest import Manifest
from deltamoe.boards.verilator.board import Verilated
from deltamoe.golden.config import MODELS
from deltamoe.golden.engines import Output, integer_output
from deltamoe.golden.library import default_image, find
from deltamoe.rtl.compiler.layout import image_rows
from tests.boards.driver import litex_model, pynq_model


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return deltamoe.build("digits", "nano", tmp_path_factory.mktemp("built") / "digits")


@pytest.fixture(scope="package")
def pixels() -> np.ndarray:
    return default_image(find("digits").quantized.config).numpy()


@pytest.fixture(scope="package")
def golden() -> Output:
    """What the integer network makes of it."""
    network = find("digits")
    return integer_output(network, default_image(network.quantized.config), 0)[0]


@pytest.fixture(scope="package")
def colored(built: Build) -> Manifest:
    """Of a network whose patches have three channels, and are filled up, as is the whole.

    A patch has 3 * 3 * 3 pixels in 28 bytes, words of 4; 15 patches have 420 bytes, beats of 8.
    """
    given = built.manifest.input.model_copy(update={
        "channels": 3, "height": 9, "width": 15, "patch_size": 3, "patch_bytes": 28, "bytes": 424})
    return built.manifest.model_copy(update={"input": given})


@pytest.fixture(scope="package")
def coded(colored: Manifest) -> tuple[np.ndarray, bytes]:
    """Pixels of such a picture, and the bytes that the compiler makes of them."""
    config = replace(MODELS["digits"], image_channels=3, image_height=9, image_width=15,
                     patch_size=3)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 15), np.uint8)
    expected = image_rows(pixels, config, PRESETS["nano"]).tobytes()
    assert len(expected) == colored.input.bytes
    return pixels, expected


BASE = 0x1840
"""Where the network lies in memory: an address of which both registers' parts matter."""


@pytest.fixture
def model(built: Build) -> Iterator[Verilated]:
    """As after power-up, with no more memory than the network needs."""
    size = BASE + built.manifest.memory.bytes
    with Verilated("nano", size, base=BASE, power_up_seed=1) as model:
        yield model


THROUGH = {"verilated": lambda model, *_: model, "pynq": pynq_model.through,
           "litex": litex_model.through}
"""How a device reaches the model: each back end that exists here."""


@pytest.fixture(params=THROUGH)
def backend(request: pytest.FixtureRequest, model: Verilated, tmp_path: Path,
            monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """Each back end, with ``model`` behind it."""
    with THROUGH[request.param](model, tmp_path, monkeypatch) as backend:
        yield backend


@pytest.fixture
def folder(built: Build, tmp_path: Path) -> Path:
    """A copy to change."""
    for path in built.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path
