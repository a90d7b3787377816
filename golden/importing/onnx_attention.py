"""The half of a block of an ONNX graph that is an attention."""

import math
from typing import TYPE_CHECKING

import numpy as np

from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_layers import (
    FUSED_NORMS,
    Branch,
    Linear,
    UnmatchedError,
    back,
    layers,
    named,
    norm,
    scaled,
)
from deltamoe.golden.importing.refusals import MIXED, NORMALIZED, RELATIVE, ROTARY, WINDOWS

if TYPE_CHECKING:
    import onnx

QKV = ("q", "k", "v")


def attention(graph: Graph, source: str, added: str) -> Branch:
    """Read the half of a block that adds ``added`` to ``source``.

    Which channel of which layer is which of a head's is not read but tried: the layer's result is
    replaced by the numbers of its channels, and what arrives at the product says the order. So
    queries, keys and values may be joined in any order, or shared by several heads.

    Raises
    ------
    UnmatchedError
        It is no attention of all tokens to all; says what it is.
    """
    nodes = graph.between(source, added)
    softmaxes = [node for node in nodes if node.op_type == "Softmax"]
    if len(softmaxes) != 1:
        raise UnmatchedError(f"{len(softmaxes)} softmaxes in the first half of a block; it is one "
                             "attention of all tokens to all")
    softmax = softmaxes[0]
    shape, (tokens, dim) = graph.shape(softmax.output[0]), graph.shape(source)[-2:]
    if shape[-2:] != (tokens, tokens) or len(shape) not in (3, 4):
        raise UnmatchedError(f"an attention has {shape} scores of {tokens} tokens: {WINDOWS}")
    found = layers(graph, nodes)
    behind = [layer for layer in found if softmax.output[0] in graph.depends[layer.source]]
    if len(behind) != 1:
        raise UnmatchedError(f"{len(behind)} layers behind a softmax; the projection is one")
    context = next((node for node in graph.between(softmax.output[0], behind[0].source)
                    if node.op_type == "MatMul"), None)
    if context is None or softmax.output[0] not in graph.depends[context.input[0]]:
        raise UnmatchedError("a softmax is not multiplied with values; its rows are, and with "
                             "nothing else")
    scores, scale = _scores(graph, softmax.input[0])
    heads, tensors, read = shape[-3], {}, {}
    operands = dict(zip(QKV, (*scores.input, context.input[1]), strict=True))
    projections = {part: _operand(graph, value, found) for part, value in operands.items()}
    factor_of = {part: factor for part, (_, factor) in projections.items()}
    factors = {"q": factor_of["q"] * factor_of["k"] * scale * (dim // heads) ** 0.5, "k": 1.0,
               "v": factor_of["v"]}
    for part, value in operands.items():
        layer, factor = projections[part]
        order = _order(graph, layer.result, value, factor, transposed=part == "k")
        if order.shape != (heads, dim // heads):
            raise UnmatchedError(f"{order.shape[0]} heads of {order.shape[1]} channels beside "
                                 f"{heads} heads; heads are as many and as wide together as a "
                                 f"token of {dim} channels")
        read[part] = layer
        tensors |= named(f"attn.{part}", _chosen(layer, order.reshape(-1), factors[part]))
    tensors |= named("attn.proj", _projection(graph, behind[0], context.output[0]))
    gamma = scaled(graph, behind[0], added)
    if gamma is not None:
        tensors["ls1.gamma"] = gamma
    norms = [norm(graph, source, name) for name in {layer.source: 0 for layer in read.values()}]
    if any(vars_of(each) != vars_of(norms[0]) for each in norms):
        raise UnmatchedError("queries, keys and values are of differently normalized tokens; they "
                             "are of the same")
    return Branch(tensors, norms[0], heads=heads)


def vars_of(normalization: tuple) -> list:
    """Return the parts of a normalization as what can be compared."""
    return [part.tolist() if isinstance(part, np.ndarray) else part for part in normalization]


def _order(graph: Graph, result: str, value: str, factor: float, *, transposed: bool) -> np.ndarray:
    """Return which channel of a layer's result is which of ``value``'s, by head (H, Dh).

    Raises
    ------
    UnmatchedError
        Tokens are mixed on the way, or channels are.
    """
    shape = graph.shape(result)
    numbers = np.broadcast_to(np.arange(shape[-1], dtype=np.float32), shape)
    count = math.prod(shape[:-1])
    tokens = np.broadcast_to(np.arange(count, dtype=np.float32).reshape(*shape[:-1], 1), shape)
    channels, rows = (graph.run({result: each}, [value])[0] / factor for each in (numbers, tokens))
    channels, rows = (each.reshape(-1, *each.shape[-2:]) for each in (channels, rows))
    if transposed:
        channels, rows = channels.transpose(0, 2, 1), rows.transpose(0, 2, 1)
    order = np.rint(channels[:, 0]).astype(np.int64)
    if np.abs(channels - order[:, None]).max() > 0.01 or (
            np.abs(rows - np.arange(rows.shape[1])[:, None]).max() > 0.01):
        raise UnmatchedError(str(MIXED))
    return order


def _chosen(layer: Linear, order: np.ndarray, factor: float) -> Linear:
    """Return the layer that makes some channels of another, multiplied."""
    if abs(factor - 1) <= 1e-6:
        factor = 1.0
    return layer._replace(weight=layer.weight[order] * factor,
                          bias=None if layer.bias is None else layer.bias[order] * factor)


def _projection(graph: Graph, layer: Linear, context: str) -> Linear:
    """Return the layer behind a context (..., H, T, Dh), for channels in the order of heads."""
    shape = graph.shape(context)
    *_, heads, tokens, width = (1, 1, *shape)[-3:]
    numbers = np.arange(heads)[:, None, None] * width + np.arange(width)
    places = np.broadcast_to(np.arange(tokens)[:, None], (tokens, width))
    moved, rows = (graph.run({context: np.broadcast_to(each, shape).astype(np.float32)},
                             [layer.source])[0].reshape(-1, layer.weight.shape[1])
                   for each in (numbers, places))
    order = np.rint(moved[0]).astype(np.int64)
    if sorted(order) != list(range(heads * width)) or np.any(moved != order) or (
            np.any(rows != np.arange(tokens)[:, None])):
        raise UnmatchedError(str(MIXED))
    return layer._replace(weight=layer.weight[:, np.argsort(order)])


def _factor(graph: Graph, node: "onnx.NodeProto") -> float | None:
    """Return the number that a node multiplies by, or None."""
    found = graph.constant(node)
    if found is None or found.size != 1 or not np.all(found):
        return None
    number = float(found.reshape(()))
    if node.op_type == "Mul":
        return number
    return 1 / number if node.op_type == "Div" and node.input[1] in graph.constants else None


def _scores(graph: Graph, value: str) -> tuple["onnx.NodeProto", float]:
    """Return the product of queries and keys that a softmax reads, and its scale."""
    scale = 1.0
    while True:
        node = graph.makers.get(back(graph, value))
        dynamic, found = ([], None) if node is None else (graph.dynamic(node),
                                                          graph.constant(node))
        if node is not None and node.op_type == "MatMul" and len(dynamic) == 2:
            return node, scale
        if node is not None and node.op_type == "Add" and found is not None:
            if np.any(found):
                raise UnmatchedError(str(RELATIVE))
        elif node is not None and (number := _factor(graph, node)) is not None:
            scale *= number
        else:
            kind = "nothing" if node is None else node.op_type
            raise UnmatchedError(f"{kind} between the product of queries and keys and its softmax; "
                                 "it is scaled and nothing else, without a bias by position")
        value = dynamic[0]


def _operand(graph: Graph, value: str, found: list[Linear]) -> tuple[Linear, float]:
    """Return the layer that makes an operand of an attention's product, and its scale."""
    scale, known = 1.0, {layer.result: layer for layer in found}
    while True:
        value = back(graph, value)
        if value in known:
            return known[value], scale
        node = graph.makers.get(value)
        if node is not None and (number := _factor(graph, node)) is not None:
            scale, value = scale * number, graph.dynamic(node)[0]
            continue
        inner = {each.op_type for each in graph.before(value, known)}
        for refusal, operators in (
                (NORMALIZED, FUSED_NORMS.keys() | {"ReduceMean", "ReduceL2", "LpNormalization"}),
                (ROTARY, {"Concat", "Neg", "RotaryEmbedding"})):
            if inner & operators:
                raise UnmatchedError(str(refusal))
        kind = "nothing" if node is None else node.op_type
        raise UnmatchedError(f"{kind} between a layer and an attention's product; there is a layer "
                             "for queries, keys and values each, scaled and nothing else")
