"""What of an ONNX graph makes tokens of an image."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_layers import FUSED_NORMS, Linear, UnmatchedError, layers
from deltamoe.golden.importing.refusals import BEFORE, OVERLAPPING

if TYPE_CHECKING:
    import onnx


class Embedding(NamedTuple):
    """Weights (D, C, p, p) and bias (D,) of patches, the value they make, its axis of channels."""

    weight: np.ndarray
    bias: np.ndarray
    result: str
    axis: int


def stem(graph: Graph, tokens: str) -> dict[str, np.ndarray]:
    """Return the patch embedding, the positions, and zeros for the tokens before the patches.

    Patches are embedded by a convolution, or by a layer on their pixels. Tokens before the patches
    are a part of their positions.

    Raises
    ------
    UnmatchedError
        Tokens are made of an image in another way; says in which.
    """
    nodes = graph.between(graph.inputs[0], tokens)
    if any(node.op_type in FUSED_NORMS or node.op_type == "ReduceMean" for node in nodes):
        raise UnmatchedError(str(BEFORE))
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    found = layers(graph, nodes)
    if (len(convolutions), len(found)) not in {(1, 0), (0, 1)}:
        raise UnmatchedError(f"{len(convolutions)} convolutions and {len(found)} layers before the "
                             "first block; patches are embedded by one convolution whose stride "
                             "is its size, or by one layer")
    embedding = _convolved(graph, convolutions[0]) if convolutions else _layered(graph, found[0])
    shape, dim = graph.shape(embedding.result), len(embedding.weight)
    drawn = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (position,), (moved,) = (graph.run({embedding.result: value}, [tokens])[0]
                             for value in (np.zeros(shape, np.float32), drawn))
    expected = np.moveaxis(drawn, embedding.axis, -1).reshape(-1, dim)
    prefix = len(position) - len(expected)
    if prefix < 0 or np.abs(moved[prefix:] - position[prefix:] - expected).max() > 1e-4 or (
            np.any(moved[:prefix] != position[:prefix])):
        raise UnmatchedError("between patches and blocks there is more than tokens before the "
                             "patches and positions that are added")
    return {"patch_embed.proj.weight": embedding.weight, "patch_embed.proj.bias": embedding.bias,
            "pos_embed": position[None], "cls_token": np.zeros((1, prefix, dim), np.float32)}


def _convolved(graph: Graph, conv: "onnx.NodeProto") -> Embedding:
    """Read a convolution of patches."""
    weight = graph.constants.get(conv.input[1])
    values = {item.name: item for item in conv.attribute}
    if weight is None or weight.ndim != 4:
        raise UnmatchedError("the convolution before the first block has no constant weights")
    size = list(weight.shape[2:])
    plain = {"strides": size, "pads": [0] * 4, "dilations": [1, 1]}
    said = plain.keys() & values.keys()
    if any(list(values[name].ints) != plain[name] for name in said) or (
            "strides" not in values and size != [1, 1]) or (
            "group" in values and values["group"].i != 1) or (
            "auto_pad" in values and values["auto_pad"].s not in (b"NOTSET", b"VALID")):
        raise UnmatchedError(str(OVERLAPPING))
    bias = np.zeros(len(weight), np.float32) if len(conv.input) < 3 else (
        graph.constants.get(conv.input[2]))
    if bias is None:
        raise UnmatchedError("the convolution before the first block has no constant bias")
    return Embedding(*_with_input(graph, conv.input[0], weight, bias), conv.output[0], 1)


def _layered(graph: Graph, layer: Linear) -> Embedding:
    """Read a layer on the pixels of each patch, whose order is tried.

    Pixels are replaced by their numbers within their patch, and by the number of their patch.
    """
    source = graph.inputs[0]
    _, channels, height, width = shape = graph.shape(source)
    side = math.isqrt(layer.weight.shape[1] // channels)
    if channels * side**2 != layer.weight.shape[1] or height % side or width % side:
        raise UnmatchedError(f"a layer on {layer.weight.shape[1]} numbers before the first block; "
                             "it is on the pixels of square patches")
    c, y, x = np.ogrid[:channels, :height, :width]
    places = (c * side + y % side) * side + x % side
    patches = y // side * (width // side) + x // side + 0 * c
    zero, one, place, patch = (graph.run({source: np.broadcast_to(
        number, shape).astype(np.float32)}, [layer.source])[0].reshape(-1, layer.weight.shape[1])
        for number in (0, 1, places, patches))
    gain = one - zero
    if not np.all(gain):
        raise UnmatchedError("pixels are lost before the layer that embeds patches")
    order = np.rint((place[0] - zero[0]) / gain[0]).astype(np.int64)
    count = np.arange(len(zero))[:, None]
    if sorted(order) != list(range(len(order))) or np.abs(
            (place - zero) / gain - order).max() > 0.01 or np.abs(
            (patch - zero) / gain - count).max() > 0.01:
        raise UnmatchedError("patches are not embedded one by one, row by row")
    back = np.argsort(order)
    weight = (layer.weight * gain[0])[:, back].reshape(-1, channels, side, side)
    bias = layer.weight.astype(np.float64) @ zero[0] + (0 if layer.bias is None else layer.bias)
    return Embedding(weight, bias, layer.result, len(graph.shape(layer.result)) - 1)


def _with_input(graph: Graph, value: str, weight: np.ndarray, bias: np.ndarray
                ) -> tuple[np.ndarray, np.ndarray]:
    """Fold into the patch embedding what the graph itself does to its pixels."""
    source = graph.inputs[0]
    if value == source:
        return weight, bias
    shape = graph.shape(source)
    zero, one = (graph.run({source: np.full(shape, number, np.float32)}, [value])[0][0]
                 for number in (0, 1))
    if zero.shape != shape[1:] or np.ptp(zero, (1, 2)).max() or np.ptp(one, (1, 2)).max():
        raise UnmatchedError("pixels are not only scaled and shifted by channel before the patches")
    shift, gain = zero[:, 0, 0].astype(np.float64), (one - zero)[:, 0, 0].astype(np.float64)
    return (weight * gain[None, :, None, None],
            bias + (weight.astype(np.float64) * shift[None, :, None, None]).sum((1, 2, 3)))
