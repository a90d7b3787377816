"""Where quantization loses precision: signal-to-noise ratio of every block."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from deltamoe.golden.integer import Context, block, infer
from deltamoe.golden.model import M3ViT, Site
from deltamoe.golden.quantization.quantized import QuantizedModel


class BlockNoise(NamedTuple):
    """Signal-to-noise ratios of one block's output against floating point, in dB.

    Attributes
    ----------
    layer : int
        Index of the block.
    total : float
        With the errors of all blocks before it.
    own : float
        With the exact input rounded to the residual stream's scale: what this block adds.
    """

    layer: int
    total: float
    own: float


def sqnr(value: Tensor, reference: Tensor) -> float:
    """``10 log10(sum reference**2 / sum (value - reference)**2)``, in dB.

    Infinite if nothing differs, also from zeros; minus infinity if zeros alone are the reference.
    """
    reference = reference.double()
    noise = float((value.double() - reference).square().sum())
    signal = float(reference.square().sum())
    if not noise:
        return math.inf
    return 10 * (math.log10(signal) - math.log10(noise)) if signal else -math.inf


def block_noise(
    model: M3ViT, quantized: QuantizedModel, image: Tensor, task: int = 0
) -> list[BlockNoise]:
    """Compare every block of ``quantized`` with ``model`` on one uint8 image.

    Both follow the integer network's routing: a flipped expert changes a token's whole row and
    would hide the arithmetic. The layer that loses most has the smallest ``own``.
    """
    trace = infer(quantized, image, task)
    routes = {layer: experts for layer, (experts, _) in trace.routes.items()}
    seen: dict[Site, Tensor] = {}
    with torch.no_grad():
        model(image.to(model.pos_embed.dtype), task, seen.__setitem__, routes)
    rows, scale = [], quantized.residual_scale
    inputs = seen[Site("in")]
    for layer, total in enumerate(trace.blocks):
        codes = (inputs * scale).round().to(torch.int64)
        alone = block(Context(quantized, task, routes), layer, codes)
        inputs = seen[Site("out", layer)]
        rows.append(BlockNoise(layer, sqnr(total / scale, inputs),
                               sqnr(alone / scale, inputs)))
    return rows
