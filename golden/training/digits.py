"""Train, quantize and evaluate the digits network."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from deltamoe.golden.data.images import digits
from deltamoe.golden.engines import integer_output, real_output
from deltamoe.golden.importing.source import FloatNetwork
from deltamoe.golden.library import Network
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.training.train import accuracy, train_digits

CALIBRATION = 256
FILES = ("digits.safetensors", "digits.quantized.safetensors")
"""Real and integer weights."""

Predictor = Callable[[Tensor, int], int]


def train_and_save(seed: int, folder: Path,
                   progress: Callable[[int, int], None] | None = None) -> Network:
    """Train on one thread, quantize on 256 training images, write both files into ``folder``."""
    torch.set_num_threads(1)
    model = train_digits(seed, progress)
    quantized = quantize(model, digits("train")[0][:CALIBRATION])
    FloatNetwork(model.config, model.float().state_dict()).save(folder / FILES[0])
    quantized.save(folder / FILES[1])
    return Network(quantized, model.float())


def evaluate(network: Network, count: int | None = None, **engines: Predictor,
             ) -> list[dict[str, float]]:
    """Return accuracy on (the first ``count``) test images by task: float, integer, ``engines``."""
    return [{
        "float": accuracy(lambda image, task: real_output(network.real, image, task).predicted,
                          task, count=count),
        "integer": accuracy(lambda image, task: integer_output(network, image, task)[0].predicted,
                            task, count=count),
        **{name: accuracy(predict, task, count=count) for name, predict in engines.items()},
    } for task in range(network.quantized.config.num_tasks)]
