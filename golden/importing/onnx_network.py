"""A vision transformer in an ONNX graph, found by its structure and not by its names.

Blocks are a chain of residual additions; what is added is an attention or an MLP by what is in it.
The network that is found is computed beside the graph: what was read wrongly does not pass.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from deltamoe.golden.config import ACTIVATIONS
from deltamoe.golden.importing.assembly import Assembled, assemble
from deltamoe.golden.importing.containers import Weights
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.onnx_graph import Graph, read
from deltamoe.golden.importing.options import Options
from deltamoe.golden.model import activation, build

if TYPE_CHECKING:
    import onnx

EXACT_DB = 90.0
"""Ratio of signal to noise that the network must have against the graph; float32 has 110."""

LAYOUT = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Cast", "Flatten", "Dropout",
          "Split", "Slice", "Gather", "Expand"}
"""Operators that move values and change none."""

NORMALIZATION = {"ReduceMean", "Sub", "Pow", "Mul", "Add", "Sqrt", "Div", "Reciprocal", "Cast"}
"""Operators of a normalization that is not one operator."""

FUSED_NORMS = {"LayerNormalization": "layer", "RMSNormalization": "rms",
               "SimplifiedLayerNormalization": "rms"}

QKV = ("q", "k", "v")

GATED = "a gated MLP (SwiGLU) is not computed; an MLP is two layers with one activation between"


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


def find(path: Path, name: str, options: Options) -> Assembled:
    """Find a network, which gets a name, in an ONNX file.

    Raises
    ------
    ValueError
        The file is damaged, or no vision transformer that the accelerator computes; the message
        says what stands in the way, and what is allowed.
    """
    graph = read(path, options.image)
    try:
        return _find(graph, path, name, options)
    except UnmatchedError as error:
        raise ValueError(f"{path}: {error}") from None


def _find(graph: Graph, path: Path, name: str, options: Options) -> Assembled:
    branches, ends, reason = _chain(graph)
    stem = _stem(graph, ends[0])
    tensors = {part: torch.from_numpy(np.array(value, np.float32))
               for part, value in stem.items()}
    first = branches[0]
    kinds = {(branch.norm.kind, branch.norm.epsilon) for branch in branches}
    if len(kinds) > 1:
        raise UnmatchedError(f"its normalizations differ: {sorted(kinds)}; those of all blocks "
                             "are one")
    used = {branch.activation for branch in branches} - {None}
    if len(used) > 1:
        raise UnmatchedError(f"its activations differ: {', '.join(sorted(used))}; that of all "
                             "blocks is one")
    for number, branch in enumerate(branches):
        block = f"blocks.{number // 2}"
        norm = {"weight": branch.norm.gain, "bias": branch.norm.bias}
        parts = branch.tensors | {f"norm{number % 2 + 1}.{kind}": value
                                  for kind, value in norm.items() if value is not None}
        tensors |= {f"{block}.{part}": torch.from_numpy(np.array(value, np.float32))
                    for part, value in parts.items()}
    height, width = graph.shape(graph.inputs[0])[2:]
    known = replace(options, heads=first.heads, norm=first.norm.kind, image=(height, width),
                    epsilon=first.norm.epsilon)
    said = {"name": name, "source": str(path), "activation": used.pop(), "antialias": False}
    made = assemble(tensors, replace(known, activation=None), **said)
    rng = np.random.default_rng(0)
    image = rng.standard_normal(graph.shape(graph.inputs[0])).astype(np.float32)
    tokens, *outputs = graph.run({graph.inputs[0]: image}, [ends[-1], *graph.outputs])
    mine, _ = _computed(made, image)
    if _db(mine, tokens[0]) < EXACT_DB:
        raise UnmatchedError("the network that was read differs from the graph "
                             f"({_db(mine, tokens[0]):.0f} dB); its queries, keys and values may "
                             "be joined in another order than one after the other")
    head = _head(graph, ends[-1]) if reason is None else None
    if head is not None:
        whole = assemble(tensors | head, known, **said)
        if _db(_computed(whole, image)[1], outputs[0].reshape(-1)) >= EXACT_DB:
            return whole
    try:
        model = graph.part([ends[-1]], graph.outputs)
    except ValueError as error:
        raise UnmatchedError(f"{error}; outputs are made of the tokens behind the last block alone"
                             ) from None
    rest = list(model.graph.node)
    why = reason or "it follows the tokens, where the accelerator ends"
    if not rest:
        return made
    mine, theirs = made.config.macs, sum(_macs(graph, node) for node in rest)
    return made._replace(
        host=Host(model.SerializeToString(), ends[-1], tuple(graph.outputs)),
        nodes=tuple((node.op_type, node.name or node.output[0], why) for node in rest),
        share=mine / (mine + theirs))


def _computed(made: Assembled, image: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """Return tokens and scores of an image that is normalized already."""
    with torch.no_grad():
        return build(made.config, made.weights).double()(
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
            kind = _mlp if len(branches) % 2 else _attention
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


def _linear(graph: Graph, node: "onnx.NodeProto") -> Linear | None:
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


def _layers(graph: Graph, nodes: list["onnx.NodeProto"]) -> list[Linear]:
    found = (_linear(graph, node) for node in nodes)
    return [layer for layer in found if layer is not None]


def _named(name: str, layer: Linear) -> dict[str, np.ndarray]:
    bias = {} if layer.bias is None else {f"{name}.bias": layer.bias}
    return {f"{name}.weight": layer.weight, **bias}


def _back(graph: Graph, value: str) -> str:
    """Return what a value was before it was moved."""
    while (node := graph.makers.get(value)) is not None and node.op_type in LAYOUT:
        value = node.input[0]
    return value


def _norm(graph: Graph, source: str, value: str) -> Norm:
    """Return the normalization that makes ``value`` of ``source``."""
    value = _back(graph, value)
    if value == source:
        raise UnmatchedError("a layer reads tokens that are not normalized; a block normalizes "
                             "them before its attention and before its MLP")
    node = graph.makers[value]
    if node.op_type in FUSED_NORMS:
        if node.input[0] != source:
            raise UnmatchedError("a normalization is not of the tokens that a block adds to")
        values = {item.name: item for item in node.attribute}
        bias = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        epsilon = values["epsilon"].f if "epsilon" in values else 1e-5
        return Norm(FUSED_NORMS[node.op_type], _short(epsilon), graph.constants[node.input[1]],
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
    return Norm("layer" if means == 2 else "rms", _short(float(small[0].reshape(()))),
                np.ones(dim, np.float32) if gain is None else gain, bias)


def _short(value: float) -> float:
    """Return the number of fewest digits that is the same in float32."""
    return float(str(np.float32(value)))


def _scaled(graph: Graph, layer: Linear, added: str) -> np.ndarray | None:
    """Return the LayerScale between a layer and what is added, or None."""
    value = _back(graph, added)
    if value == layer.result:
        return None
    node = graph.makers[value]
    gamma = graph.constant(node) if node.op_type == "Mul" else None
    if gamma is None or _back(graph, graph.dynamic(node)[0]) != layer.result or (
            gamma.size not in {1, len(layer.weight)}):
        raise UnmatchedError(f"{node.op_type} behind the last layer of a block's half; it may be "
                             "scaled by channel")
    return np.broadcast_to(gamma.reshape(-1), len(layer.weight))


def _attention(graph: Graph, source: str, added: str) -> Branch:
    """Read the half of a block that is an attention."""
    nodes = graph.between(source, added)
    softmaxes = [node for node in nodes if node.op_type == "Softmax"]
    if len(softmaxes) != 1:
        fused = [node.op_type for node in nodes if "Attention" in node.op_type]
        raise UnmatchedError(
            f"{fused[0]} as one operator is not read; export with an opset below 23" if fused else
            f"{len(softmaxes)} softmaxes in the first half of a block; it is one attention of all "
            "tokens to all")
    softmax = softmaxes[0]
    shape, tokens = graph.shape(softmax.output[0]), graph.shape(source)[-2]
    if shape[-2:] != (tokens, tokens) or len(shape) not in (3, 4):
        raise UnmatchedError(f"an attention of {shape} scores to {tokens} tokens; windows of "
                             "tokens are not computed, all attend to all")
    layers = _layers(graph, nodes)
    behind = [layer for layer in layers if softmax.output[0] in graph.depends[layer.source]]
    if len(behind) != 1:
        raise UnmatchedError(f"{len(behind)} layers behind a softmax; the projection is one")
    values = next(node for node in graph.between(softmax.output[0], behind[0].source)
                  if node.op_type == "MatMul")
    value, _ = _operand(graph, values.input[1], layers)
    product, scale = _scores(graph, softmax.input[0])
    (query, first), (key, second) = (_operand(graph, name, layers) for name in product.input)
    heads = shape[-3]
    dim = graph.shape(source)[-1]
    factor = scale * first * second * (dim // heads) ** 0.5
    if query is key is value:
        names = {"attn.qkv": query}
        if len(query.weight) != 3 * dim:
            raise UnmatchedError(f"queries, keys and values of {len(query.weight)} channels; they "
                                 f"are as many as a token's {dim} each")
    else:
        names = dict(zip((f"attn.{part}" for part in QKV), (query, key, value), strict=True))
        if any(len(layer.weight) != dim for layer in names.values()):
            raise UnmatchedError("queries, keys and values have other widths than a token, as of "
                                 "grouped queries; they are as wide")
    if abs(factor - 1) > 1e-6:
        names = {name: _rescaled(layer, factor, name) for name, layer in names.items()}
    tensors = {}
    for name, layer in names.items():
        tensors |= _named(name, layer)
    gamma = _scaled(graph, behind[0], added)
    tensors |= _named("attn.proj", behind[0])
    if gamma is not None:
        tensors["ls1.gamma"] = gamma
    norms = [_norm(graph, source, layer.source) for layer in {
        layer.source: layer for layer in names.values()}.values()]
    if len(norms) > 1:
        raise UnmatchedError("queries, keys and values are of differently normalized tokens; they "
                             "are of the same")
    return Branch(tensors, norms[0], heads=heads)


def _rescaled(layer: Linear, factor: float, name: str) -> Linear:
    """Return a layer whose queries are multiplied by what the scores lack."""
    if name not in {"attn.q", "attn.qkv"}:
        return layer
    count = len(layer.weight) // (3 if name == "attn.qkv" else 1)
    factors = np.where(np.arange(len(layer.weight)) < count, factor, 1.0)
    return layer._replace(weight=layer.weight * factors[:, None],
                          bias=None if layer.bias is None else layer.bias * factors)


def _scores(graph: Graph, value: str) -> tuple["onnx.NodeProto", float]:
    """Return the product of queries and keys that a softmax reads, and its scale."""
    scale = 1.0
    while True:
        node = graph.makers[_back(graph, value)]
        dynamic, found = graph.dynamic(node), graph.constant(node)
        if node.op_type == "MatMul" and len(dynamic) == 2:
            return node, scale
        if node.op_type == "Add" and found is not None:
            if np.any(found):
                raise UnmatchedError("something is added to the scores of an attention, as a "
                                     "relative position bias or a mask is; positions are added "
                                     "before the blocks")
        elif node.op_type in ("Mul", "Div") and found is not None and found.size == 1:
            number = float(found.reshape(()))
            scale *= number if node.op_type == "Mul" else 1 / number
        else:
            raise UnmatchedError(f"{node.op_type} between the product of queries and keys and its "
                                 "softmax; it is scaled and nothing else, without a bias by "
                                 "position")
        value = dynamic[0]


def _operand(graph: Graph, value: str, layers: list[Linear]) -> tuple[Linear, float]:
    """Return the layer that makes an operand of an attention's product, and its scale."""
    scale, known = 1.0, {layer.result: layer for layer in layers}
    while True:
        value = _back(graph, value)
        if value in known:
            return known[value], scale
        node = graph.makers.get(value)
        found = None if node is None else graph.constant(node)
        if node is not None and node.op_type in ("Mul", "Div") and found is not None and (
                found.size == 1):
            number = float(found.reshape(()))
            scale *= number if node.op_type == "Mul" else 1 / number
            value = graph.dynamic(node)[0]
            continue
        inner = {each.op_type for each in graph.before(value, known)}
        kind = ("normalized queries and keys (QK-norm)" if inner & (
            FUSED_NORMS.keys() | {"ReduceMean", "ReduceL2", "LpNormalization"}) else
            "rotary positions (RoPE)" if inner & {"Concat", "Neg"} else
            "nothing" if node is None else node.op_type)
        raise UnmatchedError(f"{kind} between a layer and an attention's product; there is a layer "
                             "for queries, keys and values each, scaled and nothing else")


def _mlp(graph: Graph, source: str, added: str) -> Branch:
    """Read the half of a block that is an MLP."""
    nodes = graph.between(source, added)
    layers = _layers(graph, nodes)
    if len(layers) != 2:
        gated = len(layers) == 3 and any(
            node.op_type == "Mul" and len(graph.dynamic(node)) == 2 for node in nodes)
        raise UnmatchedError(GATED if gated else (
            f"{len(layers)} layers in the second half of a block; an MLP has two"))
    first, second = layers
    tensors = _named("mlp.fc1", first) | _named("mlp.fc2", second)
    gamma = _scaled(graph, second, added)
    if gamma is not None:
        tensors["ls2.gamma"] = gamma
    return Branch(tensors, _norm(graph, source, first.source),
                  activation=_activation(graph, first, second))


def _activation(graph: Graph, first: Linear, second: Linear) -> str:
    """Return the activation between two layers by what it makes of numbers."""
    if first.result not in graph.depends[second.source]:
        raise UnmatchedError("the layers of an MLP do not follow each other")
    shape = graph.shape(first.result)
    numbers = np.resize(np.linspace(-8, 8, 1001), shape).astype(np.float32)
    if len(second.weight[0]) != len(first.weight):
        raise UnmatchedError(GATED)
    values, = graph.run({first.result: numbers}, [second.source])
    for name in ACTIVATIONS:
        expected = activation(name)(torch.from_numpy(numbers).double()).numpy()
        if values.size == expected.size and (
                np.abs(values.reshape(expected.shape) - expected).max() < 5e-5):
            return name
    raise UnmatchedError("the activation of an MLP is none of " + ", ".join(ACTIVATIONS))


def _stem(graph: Graph, tokens: str) -> dict[str, np.ndarray]:
    """Return the patch embedding, the positions, and zeros for the tokens before the patches.

    Tokens before the patches are a part of their positions.
    """
    nodes = graph.between(graph.inputs[0], tokens)
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    if len(convolutions) != 1:
        raise UnmatchedError(f"{len(convolutions)} convolutions before the first block; patches "
                             "are embedded by one whose stride is its size")
    conv = convolutions[0]
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
        raise UnmatchedError("patches overlap or are padded; they are embedded by a convolution "
                             "whose stride is its size")
    bias = np.zeros(len(weight), np.float32) if len(conv.input) < 3 else (
        graph.constants[conv.input[2]])
    weight, bias = _with_input(graph, conv.input[0], weight, bias)
    shape = graph.shape(conv.output[0])
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal(shape).astype(np.float32)
    (position,), (moved,) = (graph.run({conv.output[0]: value}, [tokens])[0]
                             for value in (np.zeros(shape, np.float32), drawn))
    count = shape[2] * shape[3]
    prefix = len(position) - count
    expected = drawn[0].reshape(shape[1], -1).T
    if prefix < 0 or np.abs(moved[prefix:] - position[prefix:] - expected).max() > 1e-4 or (
            np.any(moved[:prefix] != position[:prefix])):
        raise UnmatchedError("between patches and blocks there is more than tokens before the "
                             "patches and positions that are added")
    return {"patch_embed.proj.weight": weight, "patch_embed.proj.bias": bias,
            "pos_embed": position[None],
            "cls_token": np.zeros((1, prefix, shape[1]), np.float32)}


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


def _head(graph: Graph, tokens: str) -> Weights | None:
    """Return the final normalization and a layer on one token, if nothing else follows."""
    if len(graph.outputs) != 1:
        return None
    nodes = graph.between(tokens, graph.outputs[0])
    layers = _layers(graph, nodes)
    if len(layers) != 1 or layers[0].result != _back(graph, graph.outputs[0]):
        return None
    source = _back(graph, layers[0].source)
    moved = [node for node in graph.between(tokens, layers[0].source) if node.op_type in LAYOUT]
    try:
        found = _norm(graph, tokens, source)
    except UnmatchedError:
        return None
    if not moved:
        return None
    parts = _named("head", layers[0]) | {"norm.weight": found.gain} | (
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
