"""What a matrix product is, from its name; no torch."""

import re

ATTENTION = ("scores", "values")
OUTSIDE = (*ATTENTION, "patch", "gate", "head")
"""Products that mechanisms of layers leave alone; gates decide."""

PARTS = {
    "q_proj": "q", "query": "q", "k_proj": "k", "key": "k", "v_proj": "v", "value": "v",
    "o_proj": "proj", "out_proj": "proj", "c_proj": "proj", "up_proj": "fc1", "gate_proj": "fc1",
    "linear1": "fc1", "w1": "fc1", "w3": "fc1", "c_fc": "fc1", "down_proj": "fc2",
    "linear2": "fc2", "w2": "fc2", "router": "gate",
}
"""Names of the same layers in other networks."""


def part(product: str) -> str:
    """Return what a product is of its block.

    ``patch``, ``q``, ``k``, ``v``, ``scores``, ``values``, ``proj``, ``fc1``, ``fc2``, ``gate`` or
    ``head``; another network's own name where it is none of these.
    """
    *before, last = product.split(".")
    if before and before[-1] in {"gate", "head"} and last.isdigit():
        return before[-1]
    return PARTS.get(last, last)


def prunable(product: str) -> bool:
    """Whether a product is a layer within a block, or another network's with a name of its own."""
    return part(product) not in OUTSIDE


def layer(product: str) -> int:
    """Return the first number in a product's name; -1 without one."""
    found = re.search(r"\d+", product)
    return int(found[0]) if found and not product.startswith("head.") else -1


def expert(product: str) -> int | None:
    """Return the expert that a product belongs to."""
    found = re.search(r"\.experts\.(\d+)\.", product)
    return int(found[1]) if found else None
