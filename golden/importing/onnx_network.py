"""A vision transformer in an ONNX graph, found by its structure and not by its names.

Blocks are a chain of residual additions; what is added is an attention or an MLP by what is in it.
The network that is found is computed beside the graph: what was read wrongly does not pass.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from deltamoe.golden.importing.assembly import Assembled, assemble
from deltamoe.golden.importing.containers import Weights
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.onnx_attention import attention
from deltamoe.golden.importing.onnx_file import read
from deltamoe.golden.importing.onnx_fused import taken_apart
from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_layers import (
    LAYOUT,
    Branch,
    UnmatchedError,
    back,
    layers,
    named,
    norm,
)
from deltamoe.golden.importing.onnx_mlp import mlp
from deltamoe.golden.importing.onnx_run import run
from deltamoe.golden.importing.onnx_stem import stem
from deltamoe.golden.importing.options import Options
from deltamoe.golden.model import build

if TYPE_CHECKING:
    import onnx

EXACT_DB = 90.0
"""Ratio of signal to noise that the network must have against the graph; float32 has 110."""

ValueT = TypeVar("ValueT", int, str)


def find(path: Path, name: str, options: Options) -> Assembled:
    """Find a network, which gets a name, in an ONNX file.

    Raises
    ------
    ValueError
        The file is damaged, or no vision transformer that the accelerator computes; the message
        says what stands in the way, and what is allowed.
    """
    model = read(path, options.image)
    try:
        return _find(_plain(model), path, name, options)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: {reason}") from None


def _plain(model: "onnx.ModelProto") -> Graph:
    """Return the graph with fused operators taken apart, which has to compute the same.

    Raises
    ------
    UnmatchedError
        It does not, or an operator is of one processor alone.
    """
    for node in model.graph.node:
        if node.domain.startswith("com.microsoft.nch"):
            raise UnmatchedError(f"its operators ({node.domain}) are for the processor that ONNX "
                                 "Runtime optimized it on; export it without that, or with its "
                                 "level 'extended' at most")
    apart = taken_apart(model)
    if apart is None:
        return Graph(model)
    graph = Graph(apart)
    source, = graph.inputs
    image = np.random.default_rng(1).standard_normal(graph.shape(source)).astype(np.float32)
    fused, parted = run(model.SerializeToString(), {source: image}), graph.run(
        {source: image}, graph.outputs)
    for wanted, value in zip(fused, parted, strict=True):
        if _db(torch.from_numpy(value).double(), wanted) < EXACT_DB:
            raise UnmatchedError("its fused operators compute something else than their parts")
    return graph


def _find(graph: Graph, path: Path, name: str, options: Options) -> Assembled:
    branches, ends, reason = _chain(graph)
    start = stem(graph, ends[0])
    tensors = {part: torch.from_numpy(np.array(value, np.float32))
               for part, value in start.items()}
    first = branches[0]
    kinds = {(branch.norm.kind, branch.norm.epsilon) for branch in branches}
    if len(kinds) > 1:
        raise UnmatchedError(f"its normalizations differ: {sorted(kinds)}; those of all blocks "
                             "are one")
    _same((branch.heads for branch in branches), "its blocks have {} heads; all have as many")
    top_k = _same((branch.top_k for branch in branches),
                  "its gates choose {} experts; all choose as many")
    activation = _same((branch.activation for branch in branches),
                       "its activations differ: {}; that of all blocks is one: train the network "
                       "with one")
    for number, branch in enumerate(branches):
        block = f"blocks.{number // 2}"
        rows = {"weight": branch.norm.gain, "bias": branch.norm.bias}
        parts = branch.tensors | {f"norm{number % 2 + 1}.{kind}": value
                                  for kind, value in rows.items() if value is not None}
        tensors |= {f"{block}.{part}": torch.from_numpy(np.array(value, np.float32))
                    for part, value in parts.items()}
    height, width = graph.shape(graph.inputs[0])[2:]
    known = replace(options, heads=first.heads, norm=first.norm.kind, image=(height, width),
                    epsilon=first.norm.epsilon, top_k=top_k)
    said = {"name": name, "source": str(path), "activation": activation, "antialias": False}
    network = assemble(tensors, replace(known, activation=None), **said)
    rng = np.random.default_rng(0)
    image = rng.standard_normal(graph.shape(graph.inputs[0])).astype(np.float32)
    tokens, *outputs = graph.run({graph.inputs[0]: image}, [ends[-1], *graph.outputs])
    mine, _ = _computed(network, image)
    if _db(mine, tokens[0]) < EXACT_DB:
        raise UnmatchedError("the network that was read differs from the graph "
                             f"({_db(mine, tokens[0]):.0f} dB), so something in its blocks is not "
                             "what it seems; the accelerator computes plain blocks of an attention "
                             "and an MLP, normalized before each")
    head = _head(graph, ends[-1]) if reason is None else None
    if head is not None:
        whole = assemble(tensors | head, known, **said)
        if _db(_computed(whole, image)[1], outputs[0].reshape(-1)) >= EXACT_DB:
            return whole
    try:
        model = graph.part([ends[-1]], graph.outputs)
    except ValueError as error:
        raise UnmatchedError(f"{error}; outputs are made of the tokens behind the last block "
                             "alone: export the network without what needs more") from None
    rest = list(model.graph.node)
    why = reason or "it follows the tokens, where the accelerator ends"
    if not rest:
        return network
    mine, theirs = network.config.macs, sum(_macs(graph, node) for node in rest)
    return network._replace(
        host=Host(model.SerializeToString(), ends[-1], tuple(graph.outputs)),
        nodes=tuple((node.op_type, node.name or node.output[0], why) for node in rest),
        share=mine / (mine + theirs))


def _same(values: Iterable[ValueT | None], message: str) -> ValueT | None:
    """Return what all ``values`` are but those that are None; if they differ, refuse them."""
    found = sorted(set(values) - {None})
    if len(found) > 1:
        raise UnmatchedError(message.format(", ".join(map(str, found))))
    return found[0] if found else None


def _computed(network: Assembled, image: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """Return tokens and scores of an image that is normalized already."""
    with torch.no_grad():
        return build(network.config, network.weights).double()(
            torch.from_numpy(image[0]).double() * 256)


def _db(value: Tensor, reference: np.ndarray) -> float:
    wanted = torch.from_numpy(reference).double()
    if value.shape != wanted.shape:
        return -np.inf
    noise = float((value - wanted).square().sum())
    return 10 * np.log10(float(wanted.square().sum()) / noise) if noise else np.inf


def _chain(graph: Graph) -> tuple[list[Branch], list[str], str | None]:
    """Return what is added, the tokens before and behind the blocks, and why the chain ends.

    The reason is None if it ends with the last addition of tokens.
    """
    branches: list[Branch] = []
    ends: list[str] = []
    for source, added, node in _additions(graph):
        if ends and source != ends[-1]:
            continue
        try:
            kind = mlp if len(branches) % 2 else attention
            branches.append(kind(graph, source, added))
        except UnmatchedError as error:
            if len(branches) < 2:
                raise
            return (*_whole(branches, ends), str(error))
        ends += [node.output[0]] if ends else [source, node.output[0]]
    if len(branches) < 2:
        raise UnmatchedError("it has no blocks of an attention and an MLP, each added to its input")
    return (*_whole(branches, ends), None)


def _whole(branches: list[Branch], ends: list[str]) -> tuple[list[Branch], list[str]]:
    """Leave out the first half of a block without a second."""
    count = len(branches) // 2 * 2
    return branches[:count], [ends[0], ends[count]]


def _additions(graph: Graph) -> Iterator[tuple[str, str, "onnx.NodeProto"]]:
    """Yield what is added to, what is added, and the node, of every residual addition."""
    for node in graph.nodes:
        if node.op_type == "Add" and len(graph.dynamic(node)) == 2:
            for source, added in (node.input, reversed(node.input)):
                if source in graph.depends[added] and source != added and (
                        len(graph.shape(source)) == 3):
                    yield source, added, node


def _head(graph: Graph, tokens: str) -> Weights | None:
    """Return the final normalization and a layer on one token, if nothing else follows."""
    if len(graph.outputs) != 1:
        return None
    nodes = graph.between(tokens, graph.outputs[0])
    last = layers(graph, nodes)
    if len(last) != 1 or last[0].result != back(graph, graph.outputs[0]):
        return None
    source = back(graph, last[0].source)
    moved = [node for node in graph.between(tokens, last[0].source) if node.op_type in LAYOUT]
    picked = tokens
    while len(readers := graph.readers.get(picked, [])) == 1 and readers[0].op_type in LAYOUT and (
            len(readers[0].output) == 1):
        picked = readers[0].output[0]
    try:
        found = norm(graph, picked, source)
    except UnmatchedError:
        return None
    if not moved:
        return None
    parts = named("head", last[0]) | {"norm.weight": found.gain} | (
        {} if found.bias is None else {"norm.bias": found.bias})
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in parts.items()}


def _macs(graph: Graph, node: "onnx.NodeProto") -> int:
    """Return the multiplications of a node that is a product."""
    if node.op_type in ("MatMul", "Gemm"):
        shape = graph.shape(node.input[0])
        return int(np.prod(graph.shape(node.output[0]))) * shape[-1]
    if node.op_type in ("Conv", "ConvTranspose"):
        weight = graph.shape(node.input[1])
        side = node.output[0] if node.op_type == "Conv" else node.input[0]
        return int(np.prod(graph.shape(side))) * int(np.prod(weight[1:]))
    return 0
