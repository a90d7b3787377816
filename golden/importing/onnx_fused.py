"""Operators of an ONNX graph that are several in one, taken apart into those that are matched.

Attention as one operator, of ONNX itself (opset 23) and of ONNX Runtime; what ONNX Runtime's
optimizers join: an addition and a normalization, a bias and a GELU, a product and a transposition;
and ``Einsum`` of two operands, which becomes a product of matrices.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_run import extra

if TYPE_CHECKING:
    import onnx

RUNTIME = "com.microsoft"


class FusedError(ValueError):
    """An operator does more than what the accelerator computes; says what."""


class Apart:
    """Writes nodes in place of one.

    Parameters
    ----------
    graph : Graph
        What the node is in: shapes, constants, who depends on whom.
    number : int
        Of the node, for names of new values.
    """

    def __init__(self, graph: Graph, number: int) -> None:
        self.graph, self.number = graph, number
        self.helper = extra("onnx").helper
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def add(self, operator: str, *inputs: str, to: str = "", domain: str = "",
            **attributes: object) -> str:
        """Add a node and return the name of what it makes, ``to`` or a new one."""
        name = to or f"apart_{self.number}_{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, inputs, [name], domain=domain,
                                                **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = f"apart_{self.number}_constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def reshape(self, value: str, *shape: int, to: str = "") -> str:
        """Give a value another shape; 0 keeps a side, -1 is what is left."""
        return self.add("Reshape", value, self.constant(np.array(shape, np.int64)), to=to)

    def of(self, name: str) -> np.ndarray:
        """Return a constant of the graph.

        Raises
        ------
        FusedError
            It depends on the image.
        """
        if name not in self.graph.constants:
            raise FusedError(f"{name}, weights of a fused operator, depends on the image; they are "
                             "constant")
        return self.graph.constants[name]

    def attend(self, query: str, key: str, value: str, *, scale: float, mask: str = "",
               to: str = "") -> str:
        """Attend with queries (B, H, T, Dh) to keys and values of this shape."""
        scores = self.add("MatMul", query, self.add("Transpose", key, perm=[0, 1, 3, 2]))
        scores = self.add("Mul", scores, self.constant(np.array(scale, np.float32)))
        if mask:
            scores = self.add("Add", scores, mask)
        return self.add("MatMul", self.add("Softmax", scores, axis=-1), value, to=to)

    def split(self, value: str, heads: int) -> str:
        """Make (B, H, T, Dh) of (B, T, H * Dh)."""
        return self.add("Transpose", self.reshape(value, 0, 0, heads, -1), perm=[0, 2, 1, 3])

    def join(self, value: str, to: str) -> str:
        """Make (B, T, H * Dh) of (B, H, T, Dh)."""
        return self.reshape(self.add("Transpose", value, perm=[0, 2, 1, 3]), 0, 0, -1, to=to)


def taken_apart(model: "onnx.ModelProto") -> "onnx.ModelProto | None":
    """Return the model without fused operators; None if it has none.

    Raises
    ------
    FusedError
        One does more than the accelerator, as an attention with a mask.
    """
    onnx = extra("onnx")
    if not any((node.domain, node.op_type) in RULES for node in model.graph.node):
        return None
    graph = Graph(model)
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    for number, node in enumerate(model.graph.node):
        rule = RULES.get((node.domain, node.op_type))
        apart = Apart(graph, number)
        if rule is None or not rule(apart, node, _attributes(node)):
            plain.graph.node.append(node)
            continue
        plain.graph.node.extend(apart.nodes)
        plain.graph.initializer.extend(onnx.numpy_helper.from_array(value, name)
                                       for name, value in apart.constants.items())
    return plain


def _attributes(node: "onnx.NodeProto") -> dict[str, Any]:
    onnx = extra("onnx")
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def _inputs(node: "onnx.NodeProto", count: int) -> list[str]:
    """Return so many inputs, empty where there is none."""
    return (list(node.input) + [""] * count)[:count]


def _refuse(**said: object) -> None:
    for name, value in said.items():
        if value:
            raise FusedError(f"a fused attention with {name.replace('_', ' ')} is not computed; "
                             "all tokens attend to all, by scaled products and nothing else")


def _scale(attributes: dict[str, Any], width: int) -> float:
    return float(attributes.get("scale") or 1 / math.sqrt(width))


def _runtime_attention(apart: Apart, node: "onnx.NodeProto", said: dict[str, Any]) -> bool:
    """Take apart ONNX Runtime's ``Attention``, which has the projections in it."""
    tokens, weights, bias, mask, past, added, *_ = _inputs(node, 7)
    _refuse(a_mask=mask, a_cache=past, a_relative_position_bias=added,
            causal_order=said.get("unidirectional"), rotary_positions=said.get("do_rotary"))
    matrix, heads = apart.of(weights), said["num_heads"]
    sizes = said.get("qkv_hidden_sizes") or [matrix.shape[1] // 3] * 3
    ends = np.cumsum(sizes)[:-1]
    biases = np.split(apart.of(bias), ends) if bias else [None] * 3
    parts = []
    for part, shift in zip(np.split(matrix, ends, 1), biases, strict=True):
        rows = apart.add("MatMul", tokens, apart.constant(np.ascontiguousarray(part)))
        if shift is not None:
            rows = apart.add("Add", rows, apart.constant(shift))
        parts.append(apart.split(rows, heads))
    context = apart.attend(*parts, scale=_scale(said, sizes[0] // heads))
    apart.join(context, node.output[0])
    return True


def _runtime_heads(apart: Apart, node: "onnx.NodeProto", said: dict[str, Any]) -> bool:
    """Take apart ONNX Runtime's ``MultiHeadAttention``, whose queries may have all three."""
    query, key, value, bias, mask, added, past, *_ = _inputs(node, 8)
    _refuse(a_mask=mask, a_cache=past, a_relative_position_bias=added,
            causal_order=said.get("unidirectional"))
    heads, shape = said["num_heads"], apart.graph.shape(query)
    width = shape[-1] if not key else shape[-1] // heads
    if key:
        parts = [query, key, value]
        if bias:
            parts = [apart.add("Add", part, apart.constant(shift)) for part, shift in zip(
                parts, np.split(apart.of(bias), 3), strict=True)]
        parts = [apart.split(part, heads) for part in parts]
    elif bias:
        raise FusedError("a fused attention of joined queries, keys and values with a bias of its "
                         "own is not read; the bias is added before")
    else:
        parts = [apart.add("Transpose", apart.add(
            "Gather", query, apart.constant(np.array(place, np.int64)), axis=3),
            perm=[0, 2, 1, 3]) for place in range(3)]
    apart.join(apart.attend(*parts, scale=_scale(said, width)), node.output[0])
    return True


def _attention(apart: Apart, node: "onnx.NodeProto", said: dict[str, Any]) -> bool:
    """Take apart ``Attention`` of opset 23."""
    query, key, value, mask, past, *_ = _inputs(node, 6)
    _refuse(a_cache=past, causal_order=said.get("is_causal"), a_soft_cap=said.get("softcap"))
    if mask and apart.graph.constants.get(mask, np.zeros(1)).dtype == bool:
        _refuse(a_mask=not apart.of(mask).all())
        mask = ""
    shape = apart.graph.shape(query)
    flat = len(shape) == 3
    heads = said.get("q_num_heads") or shape[1]
    shared = said.get("kv_num_heads") or (heads if flat else apart.graph.shape(key)[1])
    parts = [query, key, value]
    if flat:
        parts = [apart.split(part, count) for part, count in zip(
            parts, (heads, shared, shared), strict=True)]
    if shared != heads:
        which = apart.constant(np.repeat(np.arange(shared), heads // shared))
        parts[1:] = [apart.add("Gather", part, which, axis=1) for part in parts[1:]]
    scale = _scale(said, shape[-1] // heads if flat else shape[-1])
    if flat:
        apart.join(apart.attend(*parts, scale=scale, mask=mask), node.output[0])
    else:
        apart.attend(*parts, scale=scale, mask=mask, to=node.output[0])
    return True


def _skip_norm(apart: Apart, node: "onnx.NodeProto", said: dict[str, Any]) -> bool:
    """Take apart an addition and a normalization; a bias is added to what is added."""
    plain = node.op_type == "SkipLayerNormalization"
    first, second, gain, *rest = _inputs(node, 5)
    shift, bias = rest if plain else ("", rest[0])
    if bias:
        maker = apart.graph.makers.get(second)
        late = apart.graph.depends[first] & {second, *([] if maker is None else maker.output)}
        first, second = (first, second) if late else (second, first)
        first = apart.add("Add", first, bias)
    total = apart.add("Add", first, second, to=node.output[3] if len(node.output) > 3 else "")
    apart.add("LayerNormalization" if plain else "SimplifiedLayerNormalization", total, gain,
              *([shift] if shift else []), to=node.output[0], axis=-1,
              epsilon=said.get("epsilon", 1e-12 if plain else 1e-6))
    return True


def _bias_gelu(apart: Apart, node: "onnx.NodeProto", _: dict[str, Any]) -> bool:
    """Take apart a bias and a GELU."""
    value, bias = _inputs(node, 2)
    if not bias:
        return False
    kind = "Gelu" if node.op_type == "BiasGelu" else node.op_type
    apart.add(kind, apart.add("Add", value, bias), to=node.output[0], domain=RUNTIME)
    return True


def _fused_product(apart: Apart, node: "onnx.NodeProto", said: dict[str, Any]) -> bool:
    """Take apart a product whose operands are transposed and whose result is scaled."""
    if said.get("transBatchA") or said.get("transBatchB"):
        return False
    operands = []
    for value, transposed in zip(node.input, (said.get("transA"), said.get("transB")),
                                 strict=True):
        rank = len(apart.graph.shape(value))
        operands.append(apart.add("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])
                        if transposed else value)
    product = apart.add("MatMul", *operands)
    apart.add("Mul", product, apart.constant(np.array(said.get("alpha", 1.0), np.float32)),
              to=node.output[0])
    return True


def _einsum(apart: Apart, node: "onnx.NodeProto", said: dict[str, Any]) -> bool:
    """Make a product of matrices of a sum over products of two operands' elements."""
    labels = _labels(said["equation"].decode(), [apart.graph.shape(name) for name in node.input])
    if labels is None:
        return False
    first, second, result = labels
    sizes = {}
    for part, name in zip((first, second), node.input, strict=True):
        sizes |= dict(zip(part, apart.graph.shape(name), strict=True))
    both = [label for label in result if label in first and label in second]
    summed = [label for label in first if label in second and label not in result]
    left, right = ([label for label in part if label not in other]
                   for part, other in ((first, second), (second, first)))
    if set(left + right) - set(result) or min(sizes.values()) < 1:
        return False
    rows = [both, left, summed], [both, summed, right]
    operands = [_matrix(apart, name, part, groups, sizes) for name, part, groups in zip(
        node.input, (first, second), rows, strict=True)]
    product = apart.add("MatMul", *operands)
    order = both + left + right
    product = apart.reshape(product, *(sizes[label] for label in order))
    apart.add("Transpose", product, perm=[order.index(label) for label in result],
              to=node.output[0])
    return True


def _labels(equation: str, shapes: list[tuple[int, ...]]) -> tuple[str, str, str] | None:
    """Return the labels of two operands and of the result, without an ellipsis; None of others."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if not arrow or len(parts) != 2 or not all(shapes):
        return None
    hidden = max((len(shape) - len(part) + 3 for part, shape in zip(parts, shapes, strict=True)
                  if "..." in part), default=0)
    extra_labels = [label for label in "ABCDEFGH" if label not in equation][:hidden]
    whole = []
    for part, shape in zip(parts, shapes, strict=True):
        count = len(shape) - len(part) + 3
        whole.append(part.replace("...", "".join(extra_labels[hidden - count:]))
                     if "..." in part else part)
    whole.append(result.replace("...", "".join(extra_labels)))
    if any(len(set(part)) < len(part) for part in whole) or any(
            len(part) != len(shape) for part, shape in zip(whole, shapes, strict=False)):
        return None
    return whole[0], whole[1], whole[2]


def _matrix(apart: Apart, name: str, labels: str, groups: list[list[str]], sizes: dict[str, int]
            ) -> str:
    """Return an operand with its labels in groups: batch, rows, columns."""
    order = [label for group in groups for label in group]
    perm = [labels.index(label) for label in order]
    batch, rows, columns = groups
    shape = [sizes[label] for label in batch] + [
        math.prod(sizes[label] for label in group) for group in (rows, columns)]
    if name in apart.graph.constants:
        return apart.constant(np.ascontiguousarray(
            apart.graph.constants[name].transpose(perm).reshape(shape)))
    return apart.reshape(apart.add("Transpose", name, perm=perm), *shape)


Rule = Callable[[Apart, Any, dict[str, Any]], bool]

RULES: dict[tuple[str, str], Rule] = {
    ("", "Attention"): _attention, ("", "Einsum"): _einsum,
    (RUNTIME, "Attention"): _runtime_attention, (RUNTIME, "MultiHeadAttention"): _runtime_heads,
    (RUNTIME, "SkipLayerNormalization"): _skip_norm,
    (RUNTIME, "SkipSimplifiedLayerNormalization"): _skip_norm,
    (RUNTIME, "BiasGelu"): _bias_gelu, (RUNTIME, "FastGelu"): _bias_gelu,
    (RUNTIME, "FusedMatMul"): _fused_product,
}
"""By domain and operator, what takes a node apart; False: it is left as it is."""
