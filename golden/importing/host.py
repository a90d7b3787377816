"""What of a network stays on the host: an ONNX model from the tokens to the user's outputs."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np


def beside(path: Path) -> Path:
    """Return where the part on the host of a network's file lies."""
    return path.with_suffix(".host.onnx")


@dataclass(frozen=True)
class Host:
    """A model that takes the tokens behind the last block.

    Attributes
    ----------
    model : bytes
        An ONNX file.
    tokens : str
        Name of its input, float32 (1, T, D).
    outputs : tuple of str
        Names of its outputs, which are the user's.
    """

    model: bytes
    tokens: str
    outputs: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.model).hexdigest()

    def run(self, tokens: np.ndarray) -> dict[str, np.ndarray]:
        """Return the user's outputs by their names, of tokens (T, D) in units of one."""
        from deltamoe.golden.importing.onnx_run import run

        values = run(self.model, {self.tokens: tokens[None].astype(np.float32)})
        return dict(zip(self.outputs, values, strict=True))
