"""A network of which only some experts exist, and its work: what is compiled if that is known."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deltamoe.golden.operators import EVERY, Operator, Part
from deltamoe.golden.quantization.shapes import tensor_formats
from deltamoe.golden.sparsity.work import Frame, Work
from deltamoe.rtl.compiler.tensors import Quantized


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
        self.formats = tensor_formats(network.config)

    def __getitem__(self, name: str) -> np.ndarray:
        value, (_, _, kind, operator) = np.asarray(self.network[name]), self.formats[name]
        if kind == "usage":
            layer = operator.layer
            return np.asarray(self.usage.get(layer, value))[:, self.experts[layer]]
        shrinks = operator and value.ndim and (operator.expert is EVERY or (
            self.gates and operator.part == Part.GATE))
        return value[self.experts[operator.layer]] if shrinks else value


def renamed(frame: Frame, experts: Mapping[int, np.ndarray]) -> Frame:
    """Return a frame's work with the numbers that its experts have in :class:`Remaining`."""
    works: dict[Operator, Work] = {}
    for product, work in frame.works.items():
        if product.expert is not None:
            number = int(np.searchsorted(experts[product.layer], product.expert))
            product = product.of_expert(number)
        works[product] = work
    return replace(frame, works=works, existing={}, routed={
        layer: tokens[experts[layer]] for layer, tokens in frame.routed.items()})
