"""Families of vision transformers: how each names its tensors, by one table each.

All become the names of timm, which M³ViT's training code has too; :mod:`.assembly` makes a network
of those.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from deltamoe.golden.importing.containers import Checkpoint, Weights
from deltamoe.golden.importing.refusals import (
    BEFORE,
    GATED,
    NORMALIZED,
    RELATIVE,
    ROTARY,
    WINDOWS,
)


class Family(NamedTuple):
    """Names of one program's networks.

    Attributes
    ----------
    name : str
        As people call it.
    sign : str
        Pattern of a tensor that only this family has.
    renames : tuple
        Patterns of whole names, and what they become.
    unused : tuple
        Patterns of tensors that inference does not use, and what they are.
    activation : str, optional
        What the family computes unless its configuration says else; None: it must be said.
    antialias : bool
        Whether positions of another image size are averaged where they shrink.
    """

    name: str
    sign: str
    renames: tuple[tuple[str, str], ...]
    unused: tuple[tuple[str, str], ...] = ()
    activation: str | None = "gelu"
    antialias: bool = False


PRETRAINING = ((r"(embeddings\.)?mask_token", "a token of pretraining"),
               (r"pooler\..*", "a head of pretraining"),
               (r"lm_head\..*|decoder\..*", "a head of pretraining"))

TIMM = Family(
    "timm", r"blocks\.\d+\.(\d+\.)?attn\.qkv\.weight", (
        (r"(cls_token|dist_token|reg_token|pos_embed)", r"\1"),
        (r"register_tokens", "reg_token"),
        (r"(patch_embed\.proj|norm|fc_norm|head|head_dist)\.(weight|bias)", r"\1.\2"),
        (r"attn_pool\.(.*)", r"attn_pool.\1"),
        (r"head\.(\d+)\.(weight|bias)", r"head.\1.\2"),
        (r"blocks\.(?:\d+\.)?(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(weight|bias)",
         r"blocks.\1.\2.\3"),
        (r"blocks\.(?:\d+\.)?(\d+)\.(ls1|ls2)\.gamma", r"blocks.\1.\2.gamma"),
        (r"blocks\.(\d+)\.mlp\.gate\.(\d+)\.w_gate", r"blocks.\1.mlp.gate.\2.w_gate"),
        (r"blocks\.(\d+)\.mlp\.experts\.(htoh4|h4toh)\.(weight|bias)",
         r"blocks.\1.mlp.experts.\2.\3"),
    ), (*PRETRAINING, (r"blocks\.\d+\.mlp\.gate\.\d+\.w_noise", "noise of training"),
        (r"decoders\..*", "a task's decoder, which its own program runs")), antialias=True)

_HF_EMBEDDINGS = (
    (r"embeddings\.cls_token", "cls_token"),
    (r"embeddings\.distillation_token", "dist_token"),
    (r"embeddings\.register_tokens", "reg_token"),
    (r"embeddings\.position_embeddings", "pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.proj.\1"),
    (r"layernorm\.(weight|bias)", r"norm.\1"),
    (r"(?:classifier|cls_classifier)\.(weight|bias)", r"head.\1"),
    (r"distillation_classifier\.(weight|bias)", r"head_dist.\1"),
)
_HF_ATTENTION = (
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)",
     r"blocks.\1.attn.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
)

HUGGING_FACE = Family(
    "Hugging Face ViT and DeiT", r"(\w+\.)?encoder\.layer\.\d+\.layernorm_before\.weight", (
        *_HF_EMBEDDINGS, *_HF_ATTENTION,
        (r"encoder\.layer\.(\d+)\.layernorm_before\.(weight|bias)", r"blocks.\1.norm1.\2"),
        (r"encoder\.layer\.(\d+)\.layernorm_after\.(weight|bias)", r"blocks.\1.norm2.\2"),
        (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
        (r"encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    ), PRETRAINING)

DINOV2 = Family(
    "Hugging Face DINOv2", r"(\w+\.)?encoder\.layer\.\d+\.layer_scale1\.lambda1", (
        *_HF_EMBEDDINGS, *_HF_ATTENTION,
        (r"encoder\.layer\.(\d+)\.(norm1|norm2|mlp\.fc1|mlp\.fc2)\.(weight|bias)",
         r"blocks.\1.\2.\3"),
        (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    ), PRETRAINING)

SIGLIP = Family(
    "SigLIP", r"(\w+\.)?encoder\.layers\.\d+\.self_attn\.q_proj\.weight", (
        (r"embeddings\.patch_embedding\.(weight|bias)", r"patch_embed.proj.\1"),
        (r"embeddings\.position_embedding\.weight", "pos_embed"),
        (r"post_layernorm\.(weight|bias)", r"norm.\1"),
        (r"classifier\.(weight|bias)", r"head.\1"),
        (r"head\.(probe|mlp\.fc1\.\w+|mlp\.fc2\.\w+)", r"attn_pool.\1"),
        (r"head\.attention\.in_proj_(weight|bias)", r"attn_pool.qkv.\1"),
        (r"head\.attention\.out_proj\.(weight|bias)", r"attn_pool.proj.\1"),
        (r"head\.layernorm\.(weight|bias)", r"attn_pool.norm.\1"),
        (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
        (r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)",
         r"blocks.\1.attn.\2.\3"),
        (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
        (r"encoder\.layers\.(\d+)\.mlp\.(fc1|fc2)\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
    ), ((r"embeddings\.position_ids", "numbers of the positions"),
        (r"text_model\..*|logit_scale|logit_bias", "the half for texts")), activation="gelu-tanh")

TORCHVISION = Family(
    "torchvision", r"encoder\.layers\.encoder_layer_\d+\.self_attention\.in_proj_weight", (
        (r"class_token", "cls_token"),
        (r"conv_proj\.(weight|bias)", r"patch_embed.proj.\1"),
        (r"encoder\.pos_embedding", "pos_embed"),
        (r"encoder\.ln\.(weight|bias)", r"norm.\1"),
        (r"heads\.head\.(weight|bias)", r"head.\1"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(weight|bias)",
         r"blocks.\1.attn.qkv.\2"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(weight|bias)",
         r"blocks.\1.attn.proj.\2"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:linear_1|0)\.(weight|bias)",
         r"blocks.\1.mlp.fc1.\2"),
        (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:linear_2|3)\.(weight|bias)",
         r"blocks.\1.mlp.fc2.\2"),
    ))

FAMILIES = (TIMM, DINOV2, HUGGING_FACE, SIGLIP, TORCHVISION)
"""All that are known. A family's sign is looked for in this order."""

BASES = ("vit.", "deit.", "dinov2.", "dinov2_with_registers.", "vision_model.",
         "siglip.", "siglip_vision_model.")
"""What transformers puts before the names of a network that has a head."""

REFUSED = (
    (r"relative_position|rel_pos", RELATIVE),
    (r"layers\.\d+\.(blocks|downsample)", WINDOWS),
    (r"\brope|rotary|freqs_cis|^(model\.)?layer\.\d+\.attention\.q_proj\.", ROTARY),
    (r"(q_norm|k_norm|q_layernorm|k_layernorm)\.", NORMALIZED),
    (r"mlp\.(w12|w1|w2|w3|weights_in|weights_out|gate_proj|fc1_g|fc1_x)\.", GATED),
    (r"norm_pre\.|pre_layrnorm\.|pre_layernorm\.", BEFORE),
)
"""Patterns of tensors that no part of the accelerator computes, and what they are."""


SHOWN = 3
"""Tensors that are left out for the same reason and named."""


def recognize(checkpoint: Checkpoint) -> Family:
    """Return the family that a checkpoint's tensors are of.

    Raises
    ------
    ValueError
        None; or the network has what is :data:`REFUSED`.
    """
    family = next((family for family in FAMILIES if any(
        re.fullmatch(family.sign, _without_base(name)) for name in checkpoint.tensors)), None)
    for name in checkpoint.tensors:
        for pattern, refusal in REFUSED:
            if re.search(pattern, name) and not (family and _unused(family, name)):
                raise ValueError(f"{checkpoint.path} has tensor {name}: {refusal}")
    if family is not None:
        return family
    raise ValueError(
        f"{checkpoint.path}: no known vision transformer has a tensor named "
        f"{next(iter(checkpoint.tensors))}; known are {', '.join(known.name for known in FAMILIES)}"
        ", M³ViT and Edge-MoE; another one may be read as ONNX")


def renamed(family: Family, checkpoint: Checkpoint) -> tuple[Weights, list[str]]:
    """Return a checkpoint's tensors by timm's names, and what was left out.

    Raises
    ------
    ValueError
        A tensor has no meaning that is known, or two have the same.
    """
    tensors: Weights = {}
    left: dict[str, list[str]] = {}
    for name, tensor in checkpoint.tensors.items():
        if meaning := _unused(family, name):
            left.setdefault(meaning, []).append(name)
        else:
            canonical = _canonical(_without_base(name), family.renames)
            if canonical is None:
                raise ValueError(f"{checkpoint.path}: tensor {name} of shape "
                                 f"{tuple(tensor.shape)} is not understood in a network of "
                                 f"{family.name}; exported to ONNX, it may be")
            if not tensor.is_floating_point():
                raise ValueError(f"{checkpoint.path}: tensor {name} is of {tensor.dtype}; weights "
                                 "are in floating point: float64, float32, float16 or bfloat16")
            if canonical in tensors:
                raise ValueError(f"{checkpoint.path}: tensor {name} is there twice")
            tensors[canonical] = tensor.detach().float()
    return tensors, [f"{_listed(names)} left out: {meaning}" for meaning, names in left.items()]


def _unused(family: Family, name: str) -> str | None:
    """Return what a tensor is that inference does not use; None of one that it uses."""
    return next((meaning for pattern, meaning in family.unused
                 if re.fullmatch(pattern, _without_base(name))), None)


def _listed(names: list[str]) -> str:
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(names[:SHOWN] + more)


def _without_base(name: str) -> str:
    return next((name.removeprefix(base) for base in BASES if name.startswith(base)), name)


def _canonical(name: str, renames: Iterable[tuple[str, str]]) -> str | None:
    for pattern, replacement in renames:
        match = re.fullmatch(pattern, name)
        if match:
            canonical = match.expand(replacement)
            for short, long in (("query", "q"), ("key", "k"), ("value", "v")):
                canonical = canonical.replace(f".attn.{short}.", f".attn.{long}.")
            return canonical
    return None
