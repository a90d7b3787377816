"""The digits, built for the smallest design, what comes out of them, and a model to run them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import deltamoe
from deltamoe.api.building import Build
from deltamoe.boards.verilator.board import Verilated
from deltamoe.golden.engines import Output, integer_output
from deltamoe.golden.library import default_image, find


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


BASE = 0x1840
"""Where the network lies in memory: an address of which both registers' parts matter."""


@pytest.fixture
def model(built: Build) -> Iterator[Verilated]:
    """As after power-up, with no more memory than the network needs."""
    size = BASE + built.manifest.memory.bytes
    with Verilated("nano", size, base=BASE, power_up_seed=1) as model:
        yield model


@pytest.fixture
def folder(built: Build, tmp_path: Path) -> Path:
    """A copy to change."""
    for path in built.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path
