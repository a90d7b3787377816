"""Parts of networks that the accelerator does not compute, what it does, and what to do then."""

from typing import NamedTuple

PLAIN = "such as ViT, DeiT, DINOv2 or SigLIP"


class Refusal(NamedTuple):
    """A part of a network, what is computed in its place, and which network to take."""

    part: str
    computed: str
    instead: str

    def __str__(self) -> str:
        return (f"the accelerator does not compute {self.part}; it computes {self.computed}: take "
                f"{self.instead}")


WINDOWS = Refusal("windows of tokens, as Swin has them", "attention of all tokens to all",
                  f"a network without windows, {PLAIN}")
POSITION = "one position embedding, which is added before the blocks"
RELATIVE = Refusal("a relative position bias, or a mask, on the scores of an attention", POSITION,
                   f"a network with such an embedding, {PLAIN}")
ROTARY = Refusal("rotary positions (RoPE)", POSITION,
                 f"a network with such an embedding, {PLAIN}")
NORMALIZED = Refusal("normalized queries and keys (QK-norm)",
                     "scaled products of queries and keys as their layer makes them",
                     f"a network without these normalizations, {PLAIN}")
MIXED = Refusal("an attention that mixes tokens or channels between a layer and a product",
                "products of layers' outputs that are moved and scaled, and nothing else",
                f"a network whose layers make the queries, keys and values, {PLAIN}")
GATED = Refusal("a gated MLP (SwiGLU)", "two layers with one activation between",
                "a network with such MLPs, such as ViT, DeiT, SigLIP, or DINOv2 but its giant one")
BEFORE = Refusal("a normalization before the first block, as CLIP has one",
                 "those within blocks, and that behind the last on the host",
                 "a network without it, such as SigLIP in place of CLIP, ViT, DeiT or DINOv2")
BEHIND = Refusal("an attention or an MLP on tokens that are not normalized",
                 "a normalization before each of them", f"a network with these, {PLAIN}")
OVERLAPPING = Refusal("patches that overlap or are padded",
                      "a convolution whose stride is its size",
                      f"a network with such patches, {PLAIN}")
