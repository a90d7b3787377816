"""Images: the digits and their split, files, and errors of one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from deltamoe.golden.config import MODELS
from deltamoe.golden.data.images import digits, load_image


def test_train_and_test_divide_the_digits() -> None:
    train, test = digits("train"), digits("test")
    assert len(train[0]) == len(train[1]) == 1437
    assert len(test[0]) == len(test[1]) == 360
    together = torch.cat((train[0], test[0]))
    assert together.shape == (1797, 1, 8, 8)
    assert together.dtype == torch.uint8
    scaled = np.minimum(load_digits().images * 16, 255).astype(np.uint8)
    assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, scaled))
    assert sorted(torch.cat((train[1], test[1])).tolist()) == sorted(load_digits().target)
    assert set(test[1].tolist()) == set(range(10))


@pytest.mark.parametrize(("name", "mode", "channels"), [
    ("a.png", "L", 1), ("a.png", "RGB", 3), ("a.png", "RGBA", 3), ("a.bmp", "RGB", 1)])
def test_files_become_the_networks_channels(tmp_path: Path, name: str, mode: str, channels: int
                                            ) -> None:
    config = replace(MODELS["digits"], image_channels=channels)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(tmp_path / name)
    image = load_image(tmp_path / name, config)
    assert image.shape == (channels, 8, 8)
    assert image.dtype == torch.uint8
    if len(mode) == channels:
        assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_a_larger_image_is_averaged(tmp_path: Path) -> None:
    """A checkerboard turns gray, where choosing pixels would keep black and white."""
    board = np.indices((24, 40)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    image = load_image(tmp_path / "board.png", MODELS["digits"], fit=True)
    assert image.shape == (1, 8, 8)
    # A triangle weighs five pixels 1, 2, 3, 2, 1 ninths, so 40 or 41 of 81 are white.
    assert (image[0, 1:-1, 1:-1].double() - 255 / 2).abs().max() <= 255 / 2 / 81 + 1


def test_an_impossible_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.bmp"
    Image.new("L", (8, 8)).save(path)
    data = bytearray(path.read_bytes())
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bomb\.bmp: Image size \(3600000000 pixels\)"):
        load_image(path, MODELS["digits"])


def test_errors_name_the_file(tmp_path: Path) -> None:
    config = MODELS["digits"]
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match=r"wide\.png: image is 9x8, digits takes 8x8"):
        load_image(tmp_path / "wide.png", config)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png: not an image file"):
        load_image(tmp_path / "text.png", config)
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "short.png")
    whole = (tmp_path / "short.png").read_bytes()
    (tmp_path / "short.png").write_bytes(whole[:60])
    with pytest.raises(ValueError, match=r"short\.png: "):
        load_image(tmp_path / "short.png", config)
