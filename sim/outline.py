"""A preset's shapes and routing, which is all that timing needs of a network."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.numerics import SHIFTS
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.sim.facts import Facts


@cache
def routings() -> dict[str, list[dict]]:
    """Return the routing of every preset, by task and layer; see ``scripts/make/routings.py``."""
    return json.loads(Path(__file__).with_name("routings.json").read_text("utf-8"))


class Outline:
    """A quantized network of zeros that compiles to the same program but for its values.

    Parameters
    ----------
    config : ModelConfig
        A preset of :data:`deltamoe.golden.config.MODELS`, or any other with its ``usage``.
    usage : Mapping of int to ndarray, optional
        By layer with experts (2, E): tokens of each expert in all of the calibration, and the
        fewest of an image.
    """

    def __init__(self, config: ModelConfig, usage: Mapping[int, np.ndarray] | None = None) -> None:
        self.config, self.usage = config, usage
        self.formats = tensor_formats(config)

    def __getitem__(self, name: str) -> np.ndarray:
        dtype, shape, kind, operator = self.formats[name]
        if kind == "usage":
            if self.usage is not None:
                return np.array(self.usage[operator.layer], dtype)
            seen = routings()[self.config.name][operator.task][str(operator.layer)]
            return np.array(seen["usage"], dtype)
        value = SHIFTS[0] if operator and kind == "shift" else 0
        return np.broadcast_to(np.array(value, dtype), shape)


def facts(config: ModelConfig, task: int) -> Facts:
    """Return the routing of the preset's default image."""
    return Facts({int(layer): np.array(seen["tokens"])
                  for layer, seen in routings()[config.name][task].items()})
