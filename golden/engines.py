"""Outputs of the float and the integer network in the same units."""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deltamoe.golden.integer import Trace, infer
from deltamoe.golden.library import Network
from deltamoe.golden.model import M3ViT
from deltamoe.golden.quantization.report import sqnr


class Output(NamedTuple):
    """Tokens (T, D) and class scores or None; real for the float engine, else int16."""

    x: np.ndarray
    scores: np.ndarray | None

    @property
    def predicted(self) -> int | None:
        """Class with the highest score; the lower one of equal."""
        return None if self.scores is None else int(np.argmax(self.scores))

    @property
    def sha256(self) -> str:
        """Hash of the bytes of tokens and scores."""
        digest = hashlib.sha256(np.ascontiguousarray(self.x).tobytes())
        if self.scores is not None:
            digest.update(np.ascontiguousarray(self.scores).tobytes())
        return digest.hexdigest()


def real_output(model: M3ViT, image: Tensor, task: int) -> Output:
    """Run the float network."""
    shape = (model.config.image_channels, model.config.image_height, model.config.image_width)
    if tuple(image.shape) != shape:
        raise ValueError(f"image is {tuple(image.shape)}, the network takes {shape}")
    with torch.no_grad():
        x, scores = model.float()(image.float(), task)
    return Output(x.numpy(), None if scores is None else scores.numpy())


def integer_output(network: Network, image: Tensor, task: int) -> tuple[Output, Trace]:
    """Run the integer network."""
    trace = infer(network.quantized, image, task)
    scores = None if trace.scores is None else trace.scores.numpy().astype(np.int16)
    return Output(trace.x.numpy().astype(np.int16), scores), trace


def sqnr_db(output: Output, reference: Output, scale: float) -> float:
    """Signal-to-noise ratio of int16 tokens, ``scale`` codes of one, against real ones, in dB."""
    return sqnr(torch.from_numpy(output.x.astype(np.float64)) / scale,
                torch.from_numpy(reference.x))
