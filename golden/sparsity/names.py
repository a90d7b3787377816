"""What a matrix product is, from its name; no torch."""

import re

ATTENTION = ("scores", "values")
OUTSIDE = (*ATTENTION, "patch", "gate", "head")
"""Products that mechanisms of layers leave alone; gates decide."""

ROLES = ("patch", "q", "k", "v", "qkv", "qk", "kv", "scores", "values", "proj", "fc1", "fc2",
         "gate", "head")
"""What a product can be; ``qkv``, ``qk`` and ``kv`` make several operands of an attention."""

PARTS = {
    "q_proj": "q", "query": "q", "wq": "q", "q_lin": "q", "to_q": "q", "q_a_proj": "q",
    "q_b_proj": "q",
    "k_proj": "k", "key": "k", "wk": "k", "k_lin": "k", "to_k": "k",
    "v_proj": "v", "value": "v", "wv": "v", "v_lin": "v", "to_v": "v",
    "in_proj": "qkv", "c_attn": "qkv", "Wqkv": "qkv", "qkv_proj": "qkv", "query_key_value": "qkv",
    "to_qkv": "qkv", "kv_proj": "kv", "to_kv": "kv", "kv_a_proj_with_mqa": "kv",
    "kv_b_proj": "kv",
    "o_proj": "proj", "out_proj": "proj", "c_proj": "proj", "wo": "proj", "out_lin": "proj",
    "to_out": "proj",
    "up_proj": "fc1", "gate_proj": "fc1", "gate_up_proj": "fc1", "linear1": "fc1", "lin1": "fc1",
    "w1": "fc1", "w3": "fc1", "w12": "fc1", "wi": "fc1", "wi_0": "fc1", "wi_1": "fc1",
    "c_fc": "fc1", "dense_h_to_4h": "fc1", "fc_in": "fc1",
    "down_proj": "fc2", "linear2": "fc2", "lin2": "fc2", "w2": "fc2", "dense_4h_to_h": "fc2",
    "fc_out": "fc2",
    "router": "gate", "wg": "gate",
    "classifier": "head", "lm_head": "head", "heads": "head",
    "patch_embed": "patch", "patch_embeddings": "patch", "conv_proj": "patch",
}
"""Names of the same layers in other networks: timm, torchvision, Hugging Face, torch.nn."""

PAIRS = {
    ("intermediate", "dense"): "fc1", ("output", "dense"): "fc2", ("mlp", "c_proj"): "fc2",
    ("ffn", "wo"): "fc2", ("DenseReluDense", "wo"): "fc2", ("mlp", "wo"): "fc2",
    ("to_out", "0"): "proj", ("router", "classifier"): "gate", ("heads", "head"): "head",
    ("patch_embed", "proj"): "patch", ("patch_embeddings", "projection"): "patch",
}
"""The same, by the last two words of the name."""

BLOCKS = ("blocks", "block", "layers", "layer", "h", "stages", "resblocks", "levels", "features")
"""What lists of blocks are called."""

NUMBERED = re.compile(r"(?:\w+_)?(?:layer|block|stage)_?(\d+)")
"""What a block may be called that is in no list."""

DECODER = 10**6
"""Beyond the number of any block: added to those of a decoder beside an encoder."""


def part(product: str) -> str:
    """Return what a product is of its block.

    One of :data:`ROLES`; another network's own name where it is none of these.
    """
    words = product.split(".")
    *before, last = words
    if before and before[-1] in {"gate", "head"} and last.isdigit():
        return before[-1]
    if tuple(words[-3:]) == ("attention", "output", "dense"):
        return "proj"
    if tuple(words[-2:]) in PAIRS:
        return PAIRS[words[-2], words[-1]]
    if last.isdigit() and before:
        return part(".".join(before)) if part(".".join(before)) in ROLES else last
    return PARTS.get(last, last)


def recognized(product: str) -> bool:
    """Whether mechanisms know what a product is."""
    return part(product) in ROLES


def prunable(product: str) -> bool:
    """Whether a product is a layer within a block, or another network's with a name of its own."""
    return part(product) not in OUTSIDE


def layer(product: str) -> int:
    """Return the number of a product's block; -1 without one.

    It is the number behind a list of blocks: of nested lists, as stages of blocks, a thousand times
    the outer one's and the inner one's; the first number if no list has a usual name. A decoder's
    differs from that of an encoder.
    """
    words = experts_of(product).split(".")
    if words[0] == "head":
        return -1
    numbers, listed = [], False
    for word in words:
        named = NUMBERED.fullmatch(word)
        if named or (listed and word.isdigit()):
            numbers.append(int(named[1] if named else word))
        listed = word in BLOCKS or (listed and word.isdigit())
    if not numbers:
        return next((int(word) for word in words if word.isdigit()), -1)
    made = 0
    for number in numbers:
        made = 1000 * made + number
    return made + DECODER if "decoder" in words else made


def expert(product: str) -> int | None:
    """Return the expert that a product belongs to."""
    found = re.search(r"(?:^|\.)experts\.(?:expert_)?(\d+)(?:\.|$)", product)
    return int(found[1]) if found else None


def experts_of(product: str) -> str:
    """Return what stands before ``experts`` in the name of an expert's product."""
    return re.split(r"(?:^|\.)experts\.", product)[0]
