"""A quantized network to the program and the memory image that the accelerator runs.

Memory, by byte address: state, program, weights in order of use, images, outputs.
"""

from bisect import bisect_left
from dataclasses import replace

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.layers import Layers
from deltamoe.rtl.compiler.layout import image_stride
from deltamoe.rtl.compiler.limits import beyond
from deltamoe.rtl.compiler.network import Network
from deltamoe.rtl.compiler.placement import sets_of
from deltamoe.rtl.compiler.tensors import Quantized
from deltamoe.rtl.compiler.tiles import mlp_row, scratch_words
from deltamoe.rtl.config import FIELD, HwConfig


def exceeded(config: ModelConfig, hw: HwConfig) -> str | None:
    """Return which dimension is beyond what the hardware can hold, its value and the maximum."""
    tokens, words = config.num_tokens, config.embed_dim // hw.word
    return beyond(hw, [
        ("embed_dim", config.embed_dim, hw.max_embed),
        ("hidden_dim", config.hidden_dim, FIELD - 1 if hw.temporal else hw.max_depth),
        ("patch_dim", config.patch_dim, hw.max_depth),
        ("expert_dim", config.expert_dim, hw.max_depth),
        ("num_experts", config.num_experts, hw.max_experts), ("top_k", config.top_k, hw.max_top_k),
        ("hidden words of a token", mlp_row(config, hw) + scratch_words(config, hw), hw.act_words),
        ("image words of two patches", 2 * (image_stride(config, hw) + 1), hw.act_words // 2),
        ("num_tokens", tokens, hw.max_tokens),
        ("num_tokens with experts", tokens * bool(config.num_experts), hw.queue_depth),
        ("activation words", tokens * max(words, config.expert_dim // hw.word), hw.act_words),
        ("normalized words", tokens * words, hw.normed_words),
        ("residual words", tokens * words + -(-max(config.num_classes, default=0) // hw.word),
         hw.residual_words),
    ]) or unplaced(config, hw)


def unplaced(config: ModelConfig, hw: HwConfig) -> str | None:
    """Return why the keys and values do not fit, if so."""
    try:
        sets_of(config.num_heads, config.num_tokens, config.head_dim, hw)
    except ValueError as error:
        return str(error)
    return None


def fewer(config: ModelConfig, hw: HwConfig) -> int:
    """Return the most tokens, a patch and others, with which a network would fit; 0 if none."""
    one = replace(config, image_height=config.patch_size, image_width=config.patch_size)
    found = bisect_left(range(2, config.num_tokens), True, key=lambda tokens: exceeded(
        replace(one, prefix_tokens=tokens - 1), hw) is not None)
    return found and found + 1


def check_network(config: ModelConfig, hw: HwConfig, task: int) -> None:
    """Refuse a network that the hardware cannot hold.

    Raises
    ------
    ValueError
        Names the dimension, its value and what is allowed, and with how many tokens the network
        would fit, if it would.
    """
    if not 0 <= task < config.num_tasks:
        raise ValueError(f"task {task} is not in 0..{config.num_tasks - 1}")
    found = exceeded(config, hw)
    if found:
        tokens = fewer(config, hw)
        raise ValueError(f"{config.name}: {found}"
                         + (f"; with {tokens} tokens it would fit" if tokens else ""))
    for name in ("embed_dim", "head_dim", "hidden_dim", "expert_dim"):
        if getattr(config, name) % hw.word:
            raise ValueError(f"{config.name}: {name}={getattr(config, name)} is not a multiple of "
                             f"{hw.name}'s word of {hw.word}")


DENSE = Plan(Choice(Policy.DENSE))


def compile_program(model: Quantized, hw: HwConfig, task: int = 0, plan: Plan = DENSE,
                    frames: int = 1, *, continues: bool = False) -> NetworkProgram:
    """Compile one task of a quantized network, for ``frames`` images one after another.

    With ``continues``, the first of them follows one that an earlier program has seen.

    Raises
    ------
    ValueError
        The network does not fit the hardware; says which dimension, its value, what is allowed.
    """
    check_network(model.config, hw, task)
    return Network(Layers(model, hw, task, plan)).program(frames, continues=continues)
