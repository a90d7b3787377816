"""A quantized network to the program and the memory image that the accelerator runs.

Memory, by byte address: state, program, weights in order of use, images, outputs.
"""

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl.compiler.assembler import NetworkProgram
from deltamoe.rtl.compiler.layers import Layers
from deltamoe.rtl.compiler.layout import image_stride
from deltamoe.rtl.compiler.limits import within
from deltamoe.rtl.compiler.network import Network, act_words
from deltamoe.rtl.compiler.placement import sets_of
from deltamoe.rtl.compiler.tensors import Quantized
from deltamoe.rtl.config import HwConfig


def check(config: ModelConfig, hw: HwConfig, task: int) -> None:
    """Refuse a network that the hardware cannot hold.

    Raises
    ------
    ValueError
        Names the dimension, its value and what is allowed.
    """
    if not 0 <= task < config.num_tasks:
        raise ValueError(f"task {task} is not in 0..{config.num_tasks - 1}")
    words = config.embed_dim // hw.word
    within(config.name, hw, [
        ("num_tokens", config.num_tokens, hw.max_tokens), ("embed_dim", config.embed_dim,
                                                           hw.max_embed),
        ("hidden_dim", config.hidden_dim, hw.max_depth), ("patch_dim", config.patch_dim,
                                                          hw.max_depth),
        ("num_experts", config.num_experts, hw.max_experts), ("top_k", config.top_k, hw.max_top_k),
        ("expert_dim", config.expert_dim, hw.max_depth),
        ("activation words", act_words(config, hw), hw.act_words),
        ("normalized words", config.num_tokens * words, hw.normed_words),
        ("image words", config.num_patches * image_stride(config, hw), hw.act_words),
        ("residual words", config.num_tokens * words
         + -(-max(config.num_classes, default=0) // hw.word), hw.residual_words),
    ])
    sets_of(config.num_heads, config.num_tokens, config.head_dim, hw)
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
    check(model.config, hw, task)
    return Network(Layers(model, hw, task, plan)).program(frames, continues=continues)
