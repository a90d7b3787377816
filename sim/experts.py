"""A network of which only some experts exist, and its work: what is compiled if that is known."""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deltamoe.golden.sparsity.work import Frame, Work
from deltamoe.rtl.compiler.assembler import Quantized


def chosen(frame: Frame) -> dict[int, np.ndarray]:
    """Return by layer the experts that are compiled, as many in each.

    Where fewer exist than in another layer, the first of the others fill up.
    """
    exist = {layer: frame.existing.get(layer, np.ones(len(tokens), bool))
             for layer, tokens in frame.routed.items()}
    most = max((int(mask.sum()) for mask in exist.values()), default=0)
    return {layer: np.sort(np.argsort(~mask, kind="stable")[:most])
            for layer, mask in exist.items()}


class Remaining:
    """A quantized network with some of its experts, in their old order.

    Parameters
    ----------
    network : Quantized
        With all experts.
    experts : Mapping of int to ndarray
        By layer which stay, as many in each.
    usage : Mapping of int to ndarray
        By layer (2, E), of all experts: their tokens in all of the calibration, and the fewest of
        an image; where left out, the network's own.
    gates : bool
        Whether gates shrink too, or still score all experts.
    """

    def __init__(self, network: Quantized, experts: Mapping[int, np.ndarray],
                 usage: Mapping[int, np.ndarray], *, gates: bool) -> None:
        count = len(next(iter(experts.values())))
        self.network, self.experts, self.usage, self.gates = network, experts, usage, gates
        self.config = replace(network.config, num_experts=count,
                              top_k=min(network.config.top_k, count))

    def __getitem__(self, name: str) -> np.ndarray:
        value = np.asarray(self.network[name])
        found = re.match(r"blocks\.(\d+)\.(gate|experts)\.", name)
        if not found or not value.ndim:
            return value
        layer, kind = int(found[1]), found[2]
        if name.endswith(".usage"):
            return np.asarray(self.usage.get(layer, value))[:, self.experts[layer]]
        shrinks = kind == "experts" or (self.gates and value.ndim == 2)
        return value[self.experts[layer]] if shrinks else value


def renamed(frame: Frame, experts: Mapping[int, np.ndarray]) -> Frame:
    """Return a frame's work with the numbers that its experts have in :class:`Remaining`."""
    works: dict[str, Work] = {}
    for name, work in frame.works.items():
        found = re.fullmatch(r"blocks\.(\d+)\.experts\.(\d+)\.(\w+)", name)
        if found:
            number = int(np.searchsorted(experts[int(found[1])], int(found[2])))
            name = f"blocks.{found[1]}.experts.{number}.{found[3]}"
        works[name] = work
    return replace(frame, works=works, existing={}, routed={
        layer: tokens[experts[layer]] for layer, tokens in frame.routed.items()})
