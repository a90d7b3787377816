"""The check of a quantized network's tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from deltamoe.golden.arithmetic.gate import planes
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.numerics import LARGEST_MULTIPLIER, SHIFTS, WEIGHT
from deltamoe.golden.quantization.shapes import tensor_formats


def check_format(tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Check that ``tensors`` are those of ``config`` and that hardware can use them.

    Raises
    ------
    ValueError
        A tensor is missing or has another type or shape, a weight (or a plane of a gate's) is
        -128, a multiplier is not in 1..65535, or a shift is none that the hardware offers; the
        message names the tensor.
    """
    for name, (stored, shape, kind, operator) in tensor_formats(config).items():
        dtype = getattr(torch, stored)
        if name not in tensors:
            raise ValueError(f"tensor {name} of type {dtype} and shape {shape} is missing")
        tensor = tensors[name]
        if (tensor.dtype, tuple(tensor.shape)) != (dtype, shape):
            raise ValueError(f"tensor {name} has type {tensor.dtype} and shape "
                             f"{tuple(tensor.shape)}, not {dtype} and {shape}")
        if kind == "multiplier" and not (
                tensor.min() >= 1 and tensor.max() <= LARGEST_MULTIPLIER):
            raise ValueError(f"tensor {name} holds a multiplier outside "
                             f"1..{LARGEST_MULTIPLIER}")
        if kind == "weight" and (planes(tensor) if dtype == torch.int16 else tensor
                                        ).min() < WEIGHT.lowest:
            raise ValueError(f"tensor {name} holds a weight below {WEIGHT.lowest}")
        allowed = SHIFTS if operator else range(16)
        if kind == "shift" and int(tensor) not in allowed:
            raise ValueError(f"tensor {name} is {int(tensor)}, not one of {tuple(allowed)}")
