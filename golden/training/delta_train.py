"""Go on training the digits network on sequences, with delta activations and without."""

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor

from deltamoe.golden.data.images import digits
from deltamoe.golden.data.sequences import KINDS, film
from deltamoe.golden.model import M3ViT, Site
from deltamoe.golden.quantization.quantize import calibrate, quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.training.delta_layer import delta_activations
from deltamoe.golden.training.train import BATCH, batches, descend, losses

EPOCHS = 30
CALIBRATION = 256

DELTA_FILE = "digits-delta.quantized.safetensors"

RATE = 4e-4
"""Weight of the sparsity loss: what one multiplication costs that an element's change causes.

Chosen, as the epochs and how the training digits are shown, on fifths of the training digits that
neither the network nor the one that it goes on from had seen.
"""

LOOKED_AT = 48
"""Test digits, the first ones, on which the motion was chosen: they prove nothing."""

CODES = 16
"""Steps from 0 to an operand's largest magnitude, at first."""


def pairs(images: Tensor, generator: torch.Generator) -> Tensor:
    """Film two frames of each uint8 image, all in one way: (N, 2, C, height, width)."""
    kind = KINDS[int(torch.randint(len(KINDS), (), generator=generator))]
    return film(images, kind, generator, 2)


def first_steps(model: M3ViT, images: Tensor) -> dict[Site, Tensor]:
    """Return a ``CODES``-th of each range: of each channel of norms and queries, else of all."""
    ranges = calibrate(deepcopy(model).double(), images)[0]
    queries = {site._replace(kind="query"): seen.chunk(3)[0] for site, seen in ranges.items()
               if site.kind == "qkv"}
    operands = ("norm1", "norm2", "query", "context", "hidden")
    return {site: (seen[:1] if site.kind == "hidden" else seen.max()[None]
                   if site.kind == "context" else seen).float().clamp(min=1e-3) / CODES
            for site, seen in (ranges | queries).items() if site.kind in operands}


def train_on_sequences(
    model: M3ViT, *, delta: bool, seed: int = 0, rate: float = RATE, epochs: int = EPOCHS,
    progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Train a copy of ``model`` on one thread, on pairs of frames, and quantize it.

    Both ways see the same frames in the same order. With ``delta`` the operands of the blocks'
    layers are delta activations, whose loss is added, ``rate`` times; the integer network has
    their steps as its codes.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    images, digit = digits("train")
    model = deepcopy(model).float().train()
    shown = film(images[:CALIBRATION], "both", generator, 1)[:, 0]
    steps = first_steps(model, shown) if delta else {}
    with delta_activations(model, steps) if delta else nullcontext({}) as layers:
        groups = [{"params": [*model.parameters()], "weight_decay": 0.05}]
        if delta:
            steps_of = chain.from_iterable(layer.parameters() for layer in layers.values())
            groups.append({"params": [*steps_of], "weight_decay": 0.0})
        optimizer = torch.optim.AdamW(groups)
        rates = [1e-3, 1e-2][: len(groups)]
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rates, total_steps=epochs * (len(images) // BATCH))
        for epoch in range(epochs):
            for batch in batches(len(images), generator):
                pixels = pairs(images[batch], generator).float()
                loss = torch.zeros(())
                for task in range(model.config.num_tasks):
                    loss = loss + sum(losses(model, pixels, task, digit[batch, None].expand(-1, 2)))
                    loss = loss + rate * sum(layer.loss for layer in layers.values())
                descend(loss, optimizer, schedule)
            if progress:
                progress(epoch + 1, epochs)
        learned = {site: layer.step for site, layer in layers.items()}
        return quantize(model.eval(), shown, learned)
