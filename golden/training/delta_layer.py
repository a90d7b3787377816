"""Delta activations: layers that learn how coarsely their outputs may be sent.

A quantized activation changes from one frame to the next only where it crosses a step, so the
events of :mod:`deltamoe.golden.temporal.frames` become fewer with wider steps, and theta stays 0:
nothing is left out and no error builds up. Yousefzadeh and Sifalakis, arXiv 2107.07305.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from deltamoe.golden.model import M3ViT, Site


def nearest(codes: Tensor) -> Tensor:
    """Round; the gradient passes straight through."""
    return codes + (codes.round() - codes).detach()


class DeltaActivation(nn.Module):
    """Quantize what a layer sends, with a trained step for each channel.

    ``O = round(Z / q) * q``; the layers behind receive ``dO(t) = O(t) - O(t-1)`` and add
    ``W dO(t)`` to what they have, which is ``W O(t)``: so training computes whole frames, and
    only the loss looks at differences.

    ``loss = fan_out * mean|dO / q|`` over consecutive frames: in codes, so the scale of a layer
    does not matter, and a change by one code counts as the one event that it is. An operand of
    attention is recomputed and its zeros are skipped, so there the difference is that from zero.
    Rounding passes gradients straight through: that of the loss enlarges the step, that of the
    task's loss is ``dO/dq = round(Z / q) - Z / q`` (LSQ, Esser et al., arXiv 1902.08153).

    Parameters
    ----------
    step : Tensor
        (C,) or (1,) positive: first steps, by channel or for all of them.
    fan_out : float
        Multiplications that one changed element causes.
    frames : int, optional
        Dimension of ``Z`` over which time runs; None if differences are those from zero.
    """

    def __init__(self, step: Tensor, fan_out: float, frames: int | None = 1) -> None:
        super().__init__()
        self.log_step = nn.Parameter(step.log())   # so that it stays positive
        self.fan_out, self.frames = fan_out, frames
        self.loss = torch.zeros(())

    @property
    def step(self) -> Tensor:
        """Steps."""
        return self.log_step.exp()

    def forward(self, z: Tensor) -> Tensor:
        """Map (..., C) to its multiples of the step; keep the loss."""
        step = self.step
        codes = nearest(z / step)
        sent = codes if self.frames is None else codes.diff(dim=self.frames)
        self.loss = self.fan_out * sent.abs().mean()
        return codes * step


@contextmanager
def delta_activations(model: M3ViT, steps: Mapping[Site, Tensor],
                      ) -> Iterator[dict[Site, DeltaActivation]]:
    """Make the operands of the blocks' linear layers, and queries, delta activations for a while.

    Images are (B, F, C, height, width), F frames. Of an expert's hidden values the loss sees those
    of all tokens, weighted as the share of the experts that a token takes.

    Parameters
    ----------
    steps : Mapping of Site to Tensor
        First steps of ``norm1``, ``query``, ``context``, ``norm2`` and ``hidden`` of each block.

    Yields
    ------
    dict of Site to DeltaActivation
        The layers, as long as they are there.
    """
    config, layers, hooks = model.config, {}, []
    dim = config.embed_dim
    for number, block in enumerate(model.blocks):
        routed = config.is_moe(number)
        mlp = config.num_experts + config.top_k * config.expert_dim if routed else config.hidden_dim
        share = config.top_k / config.num_experts if routed else 1
        for name, source, fan_out in (("norm1", block.norm1, 3 * dim), ("norm2", block.norm2, mlp),
                                      ("query", block.attn.qkv, config.num_tokens),
                                      ("context", block.attn.proj, dim),
                                      ("hidden", block.mlp.activation, dim * share)):
            site = Site(name, number)
            layers[site] = activation = DeltaActivation(steps[site], fan_out,
                                                        None if name == "query" else 1)
            if name == "context":
                hooks.append(source.register_forward_pre_hook(
                    lambda module, inputs, activation=activation, qkv=block.attn.qkv: activation(
                        inputs[0] - qkv.bias.chunk(3)[2]) + qkv.bias.chunk(3)[2]))
            elif name == "query":
                hooks.append(source.register_forward_hook(
                    lambda module, inputs, out, activation=activation, dim=dim: torch.cat(
                        [activation(out[..., :dim]), out[..., dim:]], -1)))
            else:
                hooks.append(source.register_forward_hook(
                    lambda module, inputs, out, activation=activation: activation(out)))
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()
