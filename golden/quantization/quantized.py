"""A quantized network: integers by name, and one file for all of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.network_file import described, write_network
from deltamoe.golden.importing.preprocessing import Preprocessing
from deltamoe.golden.numerics import LARGEST_MULTIPLIER, RESIDUAL_SCALE, SHIFTS, WEIGHT
from deltamoe.golden.quantization.quantized_format import check_format
from deltamoe.golden.quantization.rounding import compensated
from deltamoe.golden.quantization.tensor_file import read_tensors

ACC_WIDTH = 25
MAX_BIAS = 1 << (ACC_WIDTH - 3)
FORMAT = "deltamoe-quantized-1"

FINE = 64
"""Multipliers from here on are wrong by less than a hundredth when they are rounded."""


@dataclass(frozen=True)
class QuantizedModel:
    """Configuration and integer tensors; how a picture becomes pixels, and the host's part.

    Names: ``patch``, ``position``, ``blocks.{i}.norm1``, ``.q``, ``.k``, ``.v``,
    ``.attention``, ``.proj``, ``.norm2``, ``.fc1``, ``.gelu``, ``.fc2`` or ``.gate.{task}``,
    ``.experts.fc1``, ``.experts.fc2``; ``norm`` and ``head.{task}``. A linear layer has
    ``.weight`` int8 (N, K), ``.bias`` int32 (N), ``.multiplier`` (N) and ``.shift``.
    ``residual_scale`` are the codes of one in the residual stream, so in the tokens that come out.
    """

    config: ModelConfig
    tensors: Mapping[str, Tensor]
    preprocessing: Preprocessing | None = None
    host: Host | None = None
    residual_scale: float = RESIDUAL_SCALE

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def number(self, name: str) -> int:
        """Return a scalar."""
        return int(self.tensors[name])

    def save(self, path: Path) -> None:
        """Write a safetensors file, and what is on the host beside it, whole or not at all."""
        write_network(path, self.tensors, FORMAT, self.config, self.preprocessing, self.host,
                      residual_scale=repr(self.residual_scale))

    @classmethod
    def load(cls, path: Path) -> "QuantizedModel":
        """Read a file that :meth:`save` wrote.

        Raises
        ------
        ValueError
            The file is truncated, is no safetensors file, was not written by the quantizer, or
            lacks a tensor; the message names the file and the tensor.
        """
        words, tensors = read_tensors(path)
        if words.get("format") != FORMAT:
            raise ValueError(f"{path}: not a quantized model (metadata format is "
                             f"{words.get('format')!r}, not {FORMAT!r})")
        try:
            config, preprocessing, host = described(words, path)
            check_format(tensors, config)
            scale = float(words["residual_scale"])
            if not (math.isfinite(scale) and scale > 0):
                raise ValueError(f"residual_scale={scale} is not a positive number")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a usable quantized model ({error})") from None
        return cls(config, tensors, preprocessing, host, scale)


def integer_linear(weight: Tensor, bias: Tensor, *, operand: int, gain: Tensor | float,
                   zero_point: int = 0, name: str, moments: Tensor | None = None
                   ) -> dict[str, Tensor]:
    """Quantize a linear layer per output channel; a bias may not outgrow the accumulator.

    A channel's scale is the least of which the largest code holds its weights, and wider where the
    accumulator could need more than 25 bits, or where :func:`requantization` asks for it.

    Parameters
    ----------
    weight, bias : Tensor
        Real weights (N, K) for the operand's codes, real bias (N).
    operand : int
        Largest magnitude of an operand code, which bounds the accumulator.
    gain : Tensor or float
        Output codes per real unit, by channel or for all.
    zero_point : int
        Operand code that stands for zero.
    moments : Tensor, optional
        Of the operand's codes, by which :func:`compensated` rounds; without any, each weight is
        rounded alone.

    Raises
    ------
    ValueError
        A multiplier is 4 or more, or not finite.
    """
    limit = (1 << (ACC_WIDTH - 1)) - 1
    scale = torch.maximum(weight.abs().amax(-1) / WEIGHT.highest, bias.abs() / MAX_BIAS)
    while True:
        scale, multiplier, shift = requantization(scale, gain, name)
        exact = weight / scale[:, None]
        if moments is None:
            codes = exact.round().clamp(WEIGHT.lowest, WEIGHT.highest).to(torch.int64)
            gained = torch.zeros_like(bias)
        else:
            codes, gained = compensated(exact, moments)
        offset = (bias / scale + gained).round().to(torch.int64) - zero_point * codes.sum(-1)
        bound = codes.abs().sum(-1) * operand + offset.abs()
        if not (bound > limit).any():
            break
        scale = torch.where(bound > limit, scale * bound / limit * 1.001, scale)
    return {
        f"{name}.weight": codes.to(torch.int8), f"{name}.bias": offset.to(torch.int32),
        f"{name}.multiplier": multiplier, f"{name}.shift": torch.tensor(shift, dtype=torch.int32),
    }


def requantization(scale: Tensor, gain: Tensor | float, name: str) -> tuple[Tensor, Tensor, int]:
    """Return scales, and the multipliers and shift of ``scale * gain``.

    A multiplier is rounded to an integer, which may be wrong by half where it is small beside the
    largest one. There, and where it is zero, the scale becomes as wide as the multiplier above it,
    and the codes as much smaller: they stand for the same values.

    Parameters
    ----------
    scale : Tensor
        (N,) at least 0.
    gain : Tensor or float
        Positive, by channel or for all.

    Raises
    ------
    ValueError
        A multiplier is 4 or more, or not finite.
    """
    multiplier, shift = fixed_point(scale * gain, name)
    coarse = multiplier < FINE
    above = (scale * gain * 2**shift).ceil().clamp(min=1)
    return (torch.where(coarse, above / gain / 2**shift, scale),
            torch.where(coarse, above.to(torch.int32), multiplier), shift)


def fixed_point(real: Tensor, name: str) -> tuple[Tensor, int]:
    """Return 16-bit multipliers, at least 1, and the largest common shift of ``SHIFTS``.

    Raises
    ------
    ValueError
        A multiplier is 4 or more, or not finite.
    """
    largest = float(real.max())
    if not torch.isfinite(real).all():
        raise ValueError(f"{name}: requantization multiplier is not finite")
    for shift in reversed(SHIFTS):
        if round(largest * 2**shift) <= LARGEST_MULTIPLIER:
            return (real * 2**shift).round().clamp(min=1).to(torch.int32), shift
    raise ValueError(f"{name}: requantization multiplier {largest:.3g} is not below 4")
