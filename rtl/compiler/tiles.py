"""How a network shares out the memory of the activations, in turns where not all of it fits."""

from deltamoe.golden.config import ModelConfig
from deltamoe.golden.operators import Operator, Part
from deltamoe.rtl.compiler.layout import image_stride
from deltamoe.rtl.config import HwConfig


def tiles(total: int, most: int, step: int = 1) -> list[range]:
    """Return ``0..total`` in as few ranges of at most ``most`` as there can be, nearly equal.

    All but the last are multiples of ``step``.
    """
    count = -(-total // (most // step * step))
    size = -(-total // count // step) * step
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def sum_parts(depth: int, hw: HwConfig) -> list[range]:
    """Return the parts of a sum that are computed one after the other: as few as can be."""
    return tiles(depth, hw.max_depth, hw.read_words * hw.word)


def scratch_words(config: ModelConfig, hw: HwConfig) -> int:
    """Words for what is made of sums that are not complete, which nobody reads."""
    return config.embed_dim // hw.word if config.hidden_dim > hw.max_depth else 0


def mlp_row(config: ModelConfig, hw: HwConfig) -> int:
    """Words of a token's hidden values."""
    return config.hidden_dim // hw.word


def mlp_tiles(config: ModelConfig, hw: HwConfig) -> list[range]:
    """Return the tokens whose hidden values are in memory at a time."""
    room = hw.act_words - scratch_words(config, hw)
    return tiles(config.num_tokens, room // mlp_row(config, hw))


def image_half(config: ModelConfig, hw: HwConfig) -> int:
    """Words of each of the two places that the tiles of an image take in turns."""
    return hw.act_words // 2 // hw.act_row * hw.act_row


def image_tiles(config: ModelConfig, hw: HwConfig) -> list[range]:
    """Return the patches that are in memory at a time; those of a tile are whole beats."""
    stride = image_stride(config, hw)
    if config.num_patches * stride <= hw.act_words:
        return [range(config.num_patches)]
    return tiles(config.num_patches, image_half(config, hw) // stride, 1 + stride % 2)


def context_base(config: ModelConfig, hw: HwConfig) -> int:
    """Return the first word of the contexts: behind the queries, or in their places.

    The context of a row and head is written when its query is not needed any more.
    """
    words = config.num_tokens * config.embed_dim // hw.word
    return words if 2 * words <= hw.act_words else 0


def expert_turns(config: ModelConfig, hw: HwConfig) -> int:
    """Return how many experts' hidden values are in memory at a time, each for all tokens."""
    return 2 if 2 * config.num_tokens * config.expert_dim // hw.word <= hw.act_words else 1


def working_words(config: ModelConfig, hw: HwConfig) -> int:
    """Words that are taken beside the image."""
    tokens = config.num_tokens * config.embed_dim // hw.word
    return max(
        tokens + context_base(config, hw),
        len(mlp_tiles(config, hw)[0]) * mlp_row(config, hw) + scratch_words(config, hw),
        config.num_tokens * config.expert_dim // hw.word * expert_turns(config, hw))


def in_parts(operator: Operator, config: ModelConfig, hw: HwConfig) -> bool:
    """Tell whether an operator is computed in tiles of its rows, or in parts of its sums."""
    if operator.part == Part.PATCH:
        return len(image_tiles(config, hw)) > 1
    if operator.expert is None and operator.part in (Part.FC1, Part.FC2):
        return len(mlp_tiles(config, hw)) > 1 or (
            operator.part == Part.FC2 and config.hidden_dim > hw.max_depth)
    return False
