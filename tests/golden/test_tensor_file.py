"""Files of tensors: the same bytes for the same content."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from deltamoe.golden.library import WEIGHTS
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.quantization.tensor_file import encode


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*.quantized.safetensors")),
                         ids=lambda path: path.name)
def test_a_network_that_is_saved_again_is_the_same_file(path: Path, tmp_path: Path) -> None:
    QuantizedModel.load(path).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_metadata_keeps_its_order(tmp_path: Path) -> None:
    """That of a hash map would be another in nearly each of the files."""
    metadata = {name: name.upper() for name in "hgfedcba"}
    tensors = {"x": torch.arange(6).reshape(2, 3).T, "y": torch.ones(1)}
    files = {encode(tensors, metadata) for _ in range(10)}
    assert len(files) == 1
    (tmp_path / "file").write_bytes(files.pop())
    with safe_open(tmp_path / "file", "pt") as file:
        assert file.metadata() == metadata
        assert torch.equal(file.get_tensor("x"), tensors["x"])
        assert torch.equal(file.get_tensor("y"), tensors["y"])
