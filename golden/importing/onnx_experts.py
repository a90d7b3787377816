"""The half of a block of an ONNX graph that is a mixture of experts.

It may be written with one product for all experts, or with a layer for each: found are the layer
of the gate, the values before and behind the activation, and the weights of experts by which
something is multiplied. All else is tried: numbers are put in their places, and what comes out says
which weight is whose. So it is only read where all experts are computed for all tokens and weighted
with zeros; what picks tokens for experts, by their numbers, depends on the image in its shapes.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from deltamoe.golden.config import ACTIVATIONS
from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_layers import (
    LAYOUT,
    Branch,
    UnmatchedError,
    back,
    linear,
    norm,
)
from deltamoe.golden.model import activation

if TYPE_CHECKING:
    import onnx

ROUTING = {"TopK", "Softmax", "ArgMax"}
"""Operators by which a gate chooses."""

PICKING = {"NonZero", "GatherND", "ScatterND", "Compress"}
"""Operators that pick the tokens of an expert."""

FORM = ("read is a softmax over all experts, of which a token's largest weigh all experts' outputs "
        "and the others are zero")

BESIDE = ("beside the experts that a gate weighs, something is added, as an expert for all tokens "
          "is; all are weighed")

SURE, FAR = 60.0, 32.0
"""A score that wins alone; a number from which on every activation is the number itself."""


class Rows(NamedTuple):
    """Values of a graph side by side, as rows by token: their names, shapes, axes of tokens."""

    names: list[str]
    shapes: list[tuple[int, ...]]
    axes: list[int]

    @property
    def widths(self) -> list[int]:
        """How many numbers a token has in each value."""
        return [math.prod(shape) // shape[axis]
                for shape, axis in zip(self.shapes, self.axes, strict=True)]

    def join(self, values: list[np.ndarray]) -> np.ndarray:
        """Return (T, N) of all values."""
        return np.concatenate([np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
                               for value, axis in zip(values, self.axes, strict=True)], 1)

    def split(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the values that are (T, N) side by side."""
        parts = np.split(rows, np.cumsum(self.widths)[:-1], 1)
        values = {}
        for name, shape, axis, part in zip(self.names, self.shapes, self.axes, parts, strict=True):
            rest = [side for place, side in enumerate(shape) if place != axis]
            values[name] = np.ascontiguousarray(
                np.moveaxis(part.reshape(-1, *rest), 0, axis)).astype(np.float32)
        return values


class Parts(NamedTuple):
    """Where a mixture's values are.

    ``inputs`` is what gate and experts read, ``logits`` the gate's scores, ``hidden`` and
    ``active`` the values before and behind the activation, ``shares`` the weights of the experts.
    """

    gate: np.ndarray
    inputs: str
    logits: str
    hidden: Rows
    active: Rows
    shares: Rows


def is_routed(nodes: list["onnx.NodeProto"]) -> bool:
    """Whether nodes hold what chooses among experts."""
    return any(node.op_type in ROUTING | PICKING for node in nodes)


def experts(graph: Graph, source: str, added: str) -> Branch:
    """Read the half of a block that adds experts' outputs ``added`` to ``source``.

    Raises
    ------
    UnmatchedError
        It is no such mixture; says what it is.
    """
    nodes = graph.between(source, added)
    for node in nodes:
        if node.op_type in PICKING:
            raise UnmatchedError(f"experts whose tokens are picked ({node.op_type}) cannot be "
                                 f"read; {FORM}")
    try:
        parts = _parts(graph, nodes)
        numbers, top_k = _routing(graph, parts)
        order, kind = _activation(graph, parts)
        first, shift = _first(graph, nodes, parts)
        second, owners = _second(graph, parts, added, numbers)
        biases = _biases(graph, parts, added, numbers)
    except UnmatchedError:
        raise
    except ValueError as error:
        raise UnmatchedError(f"a mixture of experts is not as it is read ({error}); {FORM}"
                             ) from None
    chosen = _by_expert(owners, order, len(numbers))
    tensors = {"mlp.gate.0.w_gate": parts.gate.T,
               "mlp.experts.htoh4.weight": first[order[chosen]],
               "mlp.experts.htoh4.bias": shift[order[chosen]],
               "mlp.experts.h4toh.weight": second[chosen].transpose(0, 2, 1),
               "mlp.experts.h4toh.bias": biases}
    return Branch(tensors, norm(graph, source, parts.inputs), activation=kind, top_k=top_k)


def _parts(graph: Graph, nodes: list["onnx.NodeProto"]) -> Parts:
    """Find the gate's layer, the experts' values and their weights."""
    products = [node for node in nodes if node.op_type in ("MatMul", "Gemm")
                and len(graph.dynamic(node)) == 1]
    results = {node.output[0] for node in products}
    early = [node for node in products
             if not results & graph.depends[graph.dynamic(node)[0]]]
    choosing = set().union(*(graph.depends[node.input[0]] for node in nodes
                             if node.op_type in ROUTING))
    gates = [node for node in early if node.output[0] in choosing]
    firsts = [node for node in early if node not in gates]
    layer = linear(graph, gates[0]) if len(gates) == 1 else None
    if layer is None or not firsts:
        raise UnmatchedError(f"{len(gates)} layers score experts, {len(firsts)} begin them; {FORM}")
    if layer.bias is not None and np.any(layer.bias):
        raise UnmatchedError("a gate with a bias is not computed; its scores are products alone")
    inputs = back(graph, layer.source)
    if any(back(graph, graph.dynamic(node)[0]) != inputs for node in firsts):
        raise UnmatchedError("experts read other tokens than their gate; they read the same")
    hidden = [_affine(graph, node.output[0]) for node in firsts]
    begun = {node.output[0] for node in firsts}
    active = list(dict.fromkeys(
        graph.dynamic(node)[0] for node in products
        if node not in early and begun & graph.depends[graph.dynamic(node)[0]]))
    shares = []
    for node in nodes:
        sides = graph.dynamic(node)
        if node.op_type not in ("Mul", "MatMul") or len(sides) != 2:
            continue
        for side, other in (sides, sides[::-1]):
            if graph.depends[other] & set(active) and not graph.depends[side] & begun and (
                    layer.result in graph.depends[side]):
                shares.append(back(graph, side))
    if not (active and shares):
        raise UnmatchedError(f"experts are not weighed by their gate; {FORM}")
    tokens, dim = graph.shape(inputs)[-2:]
    return Parts(layer.weight, inputs, layer.result, _rows(graph, inputs, hidden, tokens, dim),
                 _rows(graph, inputs, active, tokens, dim),
                 _rows(graph, layer.result, list(dict.fromkeys(shares)), tokens,
                       len(layer.weight)))


def _affine(graph: Graph, value: str) -> str:
    """Return the last value that follows by moves and by adding constants alone."""
    while True:
        readers = graph.readers.get(value, [])
        if len(readers) != 1 or len(readers[0].output) != 1 or not (
                readers[0].op_type in LAYOUT or (
                    readers[0].op_type == "Add" and graph.constant(readers[0]) is not None)):
            return value
        value = readers[0].output[0]


def _rows(graph: Graph, source: str, names: list[str], tokens: int, width: int) -> Rows:
    """Find the axes of tokens: those along which only the first changes if the first token does.

    Each of its numbers is changed in turn, so that each expert is chosen once.
    """
    shape, rng = graph.shape(source), np.random.default_rng(2)
    rows = rng.standard_normal((tokens, width)).astype(np.float32)
    function = graph.function([source], names)
    before = function({source: rows.reshape(shape)})
    differ = [np.zeros(value.shape, bool) for value in before]
    for place in range(width):
        changed = rows.copy()
        changed[0, place] += SURE
        for seen, one, two in zip(differ, before, function({source: changed.reshape(shape)}),
                                  strict=True):
            seen |= one != two
    axes = []
    for seen in differ:
        axis = next((axis for axis, side in enumerate(seen.shape) if side == tokens and not (
            np.moveaxis(seen, axis, 0)[1:].any())), None)
        if axis is None or not seen.any():
            raise UnmatchedError(f"values of experts are not by token; {FORM}")
        axes.append(axis)
    return Rows(names, [graph.shape(name) for name in names], axes)


def _routing(graph: Graph, parts: Parts) -> tuple[np.ndarray, int]:
    """Return which expert's weight is which column of the shares, and the experts of a token."""
    shape, count = graph.shape(parts.logits), len(parts.gate)
    function = graph.function([parts.logits], parts.shares.names)

    def shares(scores: np.ndarray) -> np.ndarray:
        return parts.shares.join(function({parts.logits: scores.reshape(shape).astype(np.float32)}))

    tokens = math.prod(shape) // count
    columns = np.zeros(count, np.int64)
    for start in range(0, count, tokens):
        chosen = (start + np.arange(tokens)) % count
        scores = np.zeros((tokens, count))
        scores[np.arange(tokens), chosen] = SURE
        columns[chosen] = shares(scores).argmax(1)
    drawn = np.random.default_rng(3).standard_normal((tokens, count))
    weights = shares(drawn)
    if weights.shape[1] != count or len(set(columns)) != count:
        raise UnmatchedError(f"{weights.shape[1]} weights of {count} experts; {FORM}")
    weights = weights[:, columns]
    kept = np.count_nonzero(weights, 1)
    soft = np.exp(drawn) / np.exp(drawn).sum(1, keepdims=True)
    largest = np.argsort(-drawn, 1)[:, : kept[0]]
    wanted = np.zeros_like(soft)
    np.put_along_axis(wanted, largest, np.take_along_axis(soft, largest, 1), 1)
    if np.abs(weights - wanted).max() > 1e-5:
        whole = np.abs(weights.sum(1) - 1).max() < 1e-5 and kept[0] < count
        raise UnmatchedError(("weights of the chosen experts are normalized to a sum of one, which "
                              "the accelerator does not compute; " if whole else
                              "a gate weighs its experts in another way; ") + FORM)
    return columns, int(kept[0])


def _activation(graph: Graph, parts: Parts) -> tuple[np.ndarray, str]:
    """Return which hidden number each active one is of, and the activation between."""
    count, tokens = sum(parts.hidden.widths), parts.hidden.shapes[0][parts.hidden.axes[0]]
    function = graph.function(parts.hidden.names, parts.active.names)

    def active(rows: np.ndarray) -> np.ndarray:
        return parts.active.join(function(parts.hidden.split(rows)))

    places = active(np.tile(FAR + np.arange(count), (tokens, 1))) - FAR
    if places.shape[1] != count:
        raise UnmatchedError(f"{count} channels before the activation of experts, "
                             f"{places.shape[1]} behind it; {BESIDE}")
    order = np.rint(places[0]).astype(np.int64)
    if sorted(order) != list(range(count)) or np.abs(places - order).max() > 0.01:
        raise UnmatchedError("between the layers of experts, numbers are mixed; there is one "
                             f"activation between two layers, {', '.join(ACTIVATIONS)}")
    numbers = np.resize(np.linspace(-8, 8, min(1001, tokens * count)), (tokens, count))
    values = active(numbers)
    for name in ACTIVATIONS:
        expected = activation(name)(torch.from_numpy(numbers)).numpy()[:, order]
        if np.abs(values - expected).max() < 5e-5:
            return order, name
    raise UnmatchedError("the activation of experts is none of " + ", ".join(ACTIVATIONS))


def _ones(count: int, tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield numbers, and rows of which each has a one at its own number."""
    for start in range(0, count, tokens):
        chosen = np.arange(start, min(start + tokens, count))
        rows = np.zeros((tokens, count))
        rows[np.arange(len(chosen)), chosen] = 1
        yield chosen, rows


def _first(graph: Graph, nodes: list["onnx.NodeProto"], parts: Parts
           ) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (N, D) and biases (N,) of the layers before the activation."""
    shape = graph.shape(parts.inputs)
    tokens, dim = shape[-2:]
    plain = graph.function([parts.inputs], parts.hidden.names)
    free = graph.function([parts.inputs], parts.hidden.names, zero=_shifts(graph, nodes))
    bias = parts.hidden.join(plain({parts.inputs: np.zeros(shape, np.float32)}))[0]
    weight = np.zeros((len(bias), dim), np.float32)
    for chosen, rows in _ones(dim, tokens):
        results = parts.hidden.join(free({parts.inputs: rows.reshape(shape).astype(np.float32)}))
        weight[:, chosen] = results[: len(chosen)].T
    return weight, bias


def _shifts(graph: Graph, nodes: list["onnx.NodeProto"]) -> list[str]:
    """Return the constants that nodes add."""
    return [name for node in nodes for name in (
        node.input if node.op_type == "Add" else node.input[2:] if node.op_type == "Gemm" else ())
        if name in graph.constants and graph.constants[name].dtype == np.float32]


def _second(graph: Graph, parts: Parts, added: str, columns: np.ndarray
            ) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (N, D) behind the activation, and which expert's each is; -1 of zeros."""
    count, tokens = sum(parts.active.widths), parts.active.shapes[0][parts.active.axes[0]]
    inputs = [*parts.active.names, *parts.shares.names]
    between = graph.before(added, inputs)
    zero = _shifts(graph, between) + [
        name for node in between if node.op_type == "MatMul" and len(graph.dynamic(node)) == 1
        and not graph.depends[graph.dynamic(node)[0]] & set(parts.active.names)
        for name in node.input if name in graph.constants]
    function = graph.function(inputs, [added], zero=zero)
    equal, numbered = np.ones((tokens, len(columns))), np.zeros((tokens, len(columns)))
    numbered[:, columns] = 1 + np.arange(len(columns))
    unweighed, = function(parts.active.split(np.ones((tokens, count))) | parts.shares.split(
        np.zeros((tokens, len(columns)))))
    if np.any(unweighed):
        raise UnmatchedError(BESIDE)
    weight = np.zeros((count, graph.shape(added)[-1]), np.float32)
    owners = np.zeros(count, np.int64)
    for chosen, rows in _ones(count, tokens):
        one, many = (function(parts.active.split(rows) | parts.shares.split(shares))[0].reshape(
            tokens, -1)[: len(chosen)] for shares in (equal, numbered))
        weight[chosen] = one
        largest = np.abs(one).argmax(1)[:, None]
        peak = np.take_along_axis(one, largest, 1)
        ratio = np.take_along_axis(many, largest, 1) / np.where(peak, peak, 1)
        owners[chosen] = np.rint(ratio[:, 0]).astype(np.int64) - 1
    return weight, owners


def _biases(graph: Graph, parts: Parts, added: str, columns: np.ndarray) -> np.ndarray:
    """Return the biases (E, D) behind the activation."""
    tokens = parts.active.shapes[0][parts.active.axes[0]]
    function = graph.function([*parts.active.names, *parts.shares.names], [added])
    silent = parts.active.split(np.zeros((tokens, sum(parts.active.widths))))
    biases = np.zeros((len(columns), graph.shape(added)[-1]), np.float32)
    for chosen, rows in _ones(len(columns), tokens):
        placed = np.zeros_like(rows)
        placed[:, columns] = rows
        biases[chosen] = function(silent | parts.shares.split(placed))[0].reshape(
            tokens, -1)[: len(chosen)]
    return biases


def _by_expert(owners: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Return the active numbers (E, F) of each expert, in the order of the hidden ones.

    Numbers whose weights are all zero belong to any expert that lacks some.
    """
    each = len(owners) // count
    mine = [list(np.flatnonzero(owners == expert)) for expert in range(count)]
    free = list(np.flatnonzero(owners < 0))
    for own in mine:
        while len(own) < each and free:
            own.append(free.pop(0))
    if free or any(len(own) != each for own in mine) or each * count != len(owners):
        raise UnmatchedError("experts have " + ", ".join(str(len(own)) for own in mine[:8]) +
                             " hidden channels; all have as many, and none is for all tokens")
    return np.array([sorted(own, key=lambda place: order[place]) for own in mine])
