"""What blocks of an ONNX graph are made of: layers and normalizations, found by structure."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.refusals import BEHIND

if TYPE_CHECKING:
    import onnx

LAYOUT = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Cast", "Flatten", "Dropout",
          "Split", "Slice", "Gather", "Expand"}
"""Operators that move values and change none."""

NORMALIZATION = {"ReduceMean", "Sub", "Pow", "Mul", "Add", "Sqrt", "Div", "Reciprocal", "Cast"}
"""Operators of a normalization that is not one operator."""

FUSED_NORMS = {"LayerNormalization": "layer", "RMSNormalization": "rms",
               "SimplifiedLayerNormalization": "rms"}


class UnmatchedError(ValueError):
    """A part of the graph is not what the accelerator computes; says what it is and may be."""


class Norm(NamedTuple):
    """A normalization: ``layer`` or ``rms``, what is added to the variance, gain and bias."""

    kind: str
    epsilon: float
    gain: np.ndarray
    bias: np.ndarray | None


class Linear(NamedTuple):
    """A layer: weights (N, K), bias (N,) or None, the values that it reads and makes."""

    weight: np.ndarray
    bias: np.ndarray | None
    source: str
    result: str


class Branch(NamedTuple):
    """What a residual addition adds, by timm's names within a block, and what it says else."""

    tensors: dict[str, np.ndarray]
    norm: Norm
    heads: int | None = None
    activation: str | None = None
    top_k: int | None = None


def linear(graph: Graph, node: "onnx.NodeProto") -> Linear | None:
    """Return a layer that a node computes, with the addition of its bias behind it."""
    bias, result = None, node.output[0]
    if node.op_type == "MatMul":
        weight = graph.constants.get(node.input[1])
        if weight is None or weight.ndim != 2:
            return None
        weight = weight.T
        readers = graph.readers.get(result, [])
        if len(readers) == 1 and readers[0].op_type == "Add":
            found = graph.constant(readers[0])
            if found is not None and found.size == len(weight) == found.shape[-1]:
                bias, result = found.reshape(-1), readers[0].output[0]
    elif node.op_type == "Gemm":
        values = {item.name: item for item in node.attribute}
        weight = graph.constants.get(node.input[1])
        plain = all(values[name].f == 1 for name in ("alpha", "beta") if name in values)
        if weight is None or not plain or ("transA" in values and values["transA"].i):
            return None
        if not ("transB" in values and values["transB"].i):
            weight = weight.T
        if len(node.input) > 2 and node.input[2]:
            bias = graph.constants.get(node.input[2])
            if bias is None:
                return None
            bias = np.broadcast_to(bias, (1, len(weight))).reshape(-1)
    else:
        return None
    return Linear(weight, bias, node.input[0], result)


def layers(graph: Graph, nodes: list["onnx.NodeProto"]) -> list[Linear]:
    """Return the layers that nodes compute, in order."""
    found = (linear(graph, node) for node in nodes)
    return [layer for layer in found if layer is not None]


def named(name: str, layer: Linear) -> dict[str, np.ndarray]:
    """Return the tensors of a layer by timm's names."""
    bias = {} if layer.bias is None else {f"{name}.bias": layer.bias}
    return {f"{name}.weight": layer.weight, **bias}


def back(graph: Graph, value: str) -> str:
    """Return what a value was before it was moved."""
    while (node := graph.makers.get(value)) is not None and node.op_type in LAYOUT:
        value = node.input[0]
    return value


def norm(graph: Graph, source: str, value: str) -> Norm:
    """Return the normalization that makes ``value`` of ``source``."""
    value = back(graph, value)
    if value == source:
        raise UnmatchedError(str(BEHIND))
    node = graph.makers[value]
    if node.op_type in FUSED_NORMS:
        if node.input[0] != source:
            raise UnmatchedError("a normalization is not of the tokens that a block adds to")
        values = {item.name: item for item in node.attribute}
        bias = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        epsilon = values["epsilon"].f if "epsilon" in values else 1e-5
        return Norm(FUSED_NORMS[node.op_type], short(epsilon), graph.constants[node.input[1]],
                    bias)
    bias, gain = None, None
    dim = graph.shape(source)[-1]
    for kind in ("Add", "Mul"):
        found = graph.constant(node)
        if node.op_type == kind and found is not None and found.size == dim:
            if kind == "Add":
                bias = found.reshape(-1)
            else:
                gain = found.reshape(-1)
            node = graph.makers[graph.dynamic(node)[0]]
    inner = graph.between(source, node.output[0])
    strange = {each.op_type for each in inner} - NORMALIZATION
    if strange:
        raise UnmatchedError(f"{', '.join(sorted(strange))} between the tokens and the first "
                             "layer of a block; a block normalizes them and nothing else")
    means = sum(each.op_type == "ReduceMean" for each in inner)
    small = [found for each in inner if each.op_type == "Add"
             if (found := graph.constant(each)) is not None and found.size == 1]
    if means not in (1, 2) or len(small) != 1:
        raise UnmatchedError("a normalization is neither that by mean and variance nor that by "
                             "the root mean square")
    return Norm("layer" if means == 2 else "rms", short(float(small[0].reshape(()))),
                np.ones(dim, np.float32) if gain is None else gain, bias)


def short(value: float) -> float:
    """Return the number of fewest digits that is the same in float32."""
    return float(str(np.float32(value)))


def scaled(graph: Graph, layer: Linear, added: str) -> np.ndarray | None:
    """Return the LayerScale between a layer and what is added, or None."""
    value = back(graph, added)
    if value == layer.result:
        return None
    node = graph.makers[value]
    gamma = graph.constant(node) if node.op_type == "Mul" else None
    if gamma is None or back(graph, graph.dynamic(node)[0]) != layer.result or (
            gamma.size not in {1, len(layer.weight)}):
        raise UnmatchedError(f"{node.op_type} behind the last layer of a block's half; it may be "
                             "scaled by channel")
    return np.broadcast_to(gamma.reshape(-1), len(layer.weight))
