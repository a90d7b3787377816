"""What a matrix product of any network is; no torch.

Of the networks of :mod:`deltamoe.golden.model` it is an operator. Other people's layers have names,
and what these say is read once, by :func:`recognize`, where a network or its trace comes in. What a
product is beyond its layer, an expert or a part of its parameter, is derived from that value.
"""

import re
from dataclasses import dataclass, replace
from functools import cache

from deltamoe.golden.operators import Operator, Part

ATTENTION = (Part.SCORES, Part.VALUES)
OUTSIDE = (*ATTENTION, Part.PATCH, Part.GATE, Part.HEAD)
"""Products that mechanisms of layers leave alone; gates decide."""

SEVERAL = ("qkv", "qk", "kv")
"""Products that make several operands of an attention."""

ROLES = (*(part for part in Part if part != Part.ATTENTION), *SEVERAL)
"""What a product can be."""

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

EXPERTS = re.compile(r"(?:^|\.)experts\.")
EXPERT = re.compile(r"(?:^|\.)experts\.(?:expert_)?(\d+)(?:\.|$)")
"""What follows the name of what holds experts in the names of their products."""

DECODER = 10**6
"""Beyond the number of any block: added to those of a decoder beside an encoder."""


@dataclass(frozen=True)
class Named:
    """A matrix product of a network that is not of :mod:`deltamoe.golden.model`.

    Attributes
    ----------
    name : str
        As its network calls it.
    part : str
        What it is of its block: one of :data:`ROLES`, or another word where it is none of these.
    layer : int
        Its block; -1 without one.
    expert : int, optional
        Its expert; None outside of experts.
    owner : str
        What it is a part of: an attention, an expert, or any other module.
    mixture : str
        What holds its expert, the others and their gate; empty outside of experts.
    """

    name: str
    part: str
    layer: int
    expert: int | None
    owner: str
    mixture: str

    def __str__(self) -> str:
        return self.name

    @property
    def whole(self) -> "Named":
        """Itself: of other networks no operator has several products."""
        return self

    def beside(self, part: str) -> "Named":
        """Return another part of the same owner."""
        return replace(self, name=".".join(filter(None, (self.owner, part))), part=part)

    def routes(self, product: "Named") -> bool:
        """Whether it is the gate that decides about the expert of a product."""
        return (product.expert is not None and product.layer == self.layer
                and self.name.startswith(product.mixture))

    def known_as(self, role: str) -> "Named":
        """Return it with what it turned out to be, or which part of it, behind its name."""
        return replace(self, name=f"{self.name}.{role}", part=role, owner=self.name)

    def numbered(self, number: int) -> "Named":
        """Return the product with one of several matrices of a parameter, which is no expert."""
        part = self.part if recognized(self) else str(number)
        return replace(self, name=f"{self.name}.{number}", part=part, owner=self.name)

    def of_expert(self, expert: int) -> "Named":
        """Return the product of one expert, of a parameter that holds those of all."""
        above, _, inside = self.owner.rpartition(".")
        mixture = above if inside == "experts" else self.owner
        word = self.name.removeprefix(f"{self.owner}.")
        owner = ".".join(filter(None, (mixture, "experts", str(expert))))
        return Named(f"{owner}.{word}", part_in([word]), self.layer, expert, owner, mixture)


Product = Operator | Named


@cache
def recognize(name: str) -> Named:
    """Return the product of another network with this name, and what the name says of it."""
    expert = EXPERT.search(name)
    return Named(name, part_in(name.split(".")), layer_in(name),
                 int(expert[1]) if expert else None, name.rpartition(".")[0],
                 EXPERTS.split(name)[0] if expert else "")


def part_in(words: list[str]) -> str:
    """Return what the words of a name say that a product is of its block, else the last word."""
    *before, last = words
    if before and before[-1] in {"gate", "head"} and last.isdigit():
        return before[-1]
    if tuple(words[-3:]) == ("attention", "output", "dense"):
        return "proj"
    if tuple(words[-2:]) in PAIRS:
        return PAIRS[words[-2], words[-1]]
    if last.isdigit() and before:
        return part_in(before) if part_in(before) in ROLES else last
    return PARTS.get(last, last)


def layer_in(name: str) -> int:
    """Return the number of the block that a name is in; -1 if it is in none.

    It is the number behind a list of blocks: of nested lists, as stages of blocks, a thousand times
    the outer one's and the inner one's; the first number if no list has a usual name. A decoder's
    differs from that of an encoder.
    """
    words = EXPERTS.split(name)[0].split(".")
    if words[0] == "head":
        return -1
    numbers, listed = [], False
    for word in words:
        numbered = NUMBERED.fullmatch(word)
        if numbered or (listed and word.isdigit()):
            numbers.append(int(numbered[1] if numbered else word))
        listed = word in BLOCKS or (listed and word.isdigit())
    if not numbers:
        return next((int(word) for word in words if word.isdigit()), -1)
    layer = 0
    for number in numbers:
        layer = 1000 * layer + number
    return layer + DECODER if "decoder" in words else layer


def recognized(product: Product) -> bool:
    """Whether mechanisms know what a product is."""
    return product.part in ROLES


def prunable(product: Product) -> bool:
    """Whether a product is a layer within a block, or another network's with a name of its own."""
    return product.part not in OUTSIDE
