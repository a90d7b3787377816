"""The half of a block of an ONNX graph that is an MLP."""

import math

import numpy as np
import torch

from deltamoe.golden.config import ACTIVATIONS
from deltamoe.golden.importing.onnx_experts import experts, is_routed
from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_layers import (
    Branch,
    Linear,
    UnmatchedError,
    layers,
    named,
    norm,
    scaled,
)
from deltamoe.golden.importing.refusals import GATED
from deltamoe.golden.model import activation


def mlp(graph: Graph, source: str, added: str) -> Branch:
    """Read the half of a block that is an MLP, or a mixture of them."""
    nodes = graph.between(source, added)
    if is_routed(nodes):
        return experts(graph, source, added)
    found = layers(graph, nodes)
    if len(found) != 2:
        gated = len(found) == 3 and any(
            node.op_type == "Mul" and len(graph.dynamic(node)) == 2 for node in nodes)
        raise UnmatchedError(str(GATED) if gated else (
            f"{len(found)} layers in the second half of a block; an MLP has two"))
    first, second = found
    tensors = named("mlp.fc1", first) | named("mlp.fc2", second)
    gamma = scaled(graph, second, added)
    if gamma is not None:
        tensors["ls2.gamma"] = gamma
    return Branch(tensors, norm(graph, source, first.source),
                  activation=_activation(graph, first, second))


def _activation(graph: Graph, first: Linear, second: Linear) -> str:
    """Return the activation between two layers by what it makes of numbers."""
    if first.result not in graph.depends[second.source]:
        raise UnmatchedError("the layers of an MLP do not follow each other")
    shape = graph.shape(first.result)
    count = min(1001, math.prod(shape))
    numbers = np.resize(np.linspace(-8, 8, count), shape).astype(np.float32)
    if len(second.weight[0]) != len(first.weight):
        raise UnmatchedError(str(GATED))
    values, = graph.run({first.result: numbers}, [second.source])
    for name in ACTIVATIONS:
        expected = activation(name)(torch.from_numpy(numbers).double()).numpy()
        if values.size == expected.size and (
                np.abs(values.reshape(expected.shape) - expected).max() < 5e-5):
            return name
    raise UnmatchedError("the activation of an MLP is none of " + ", ".join(ACTIVATIONS) +
                         "; train the network with one of these")
