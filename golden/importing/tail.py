"""What follows the tokens of a checkpoint and is no head of ours, written as ONNX for the host."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from deltamoe.golden.importing.containers import Weights
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.onnx_run import extra

OPSET, IR_VERSION = 20, 9
"""The first opset that has both a layer norm and GELU as one operator, and the format then."""

Node = tuple[str, str, str]
"""Operator, name and reason of a node on the host."""


class Tail:
    """A graph from the tokens (1, T, D) on, value by value.

    Parameters
    ----------
    source : str
        What errors call the file.
    tensors : dict
        By timm's names; what is read is taken out.
    tokens, dim, prefix, heads : int
        Tokens, their width, how many of them are before those of the patches, and attention heads.
    epsilon : float
        Of the normalizations.
    activation : str
        Of an MLP, by :data:`deltamoe.golden.config.ACTIVATIONS`.
    """

    def __init__(self, source: str, tensors: Weights, *, tokens: int, dim: int, prefix: int,
                 heads: int, epsilon: float, activation: str) -> None:
        self.source, self.tensors = source, tensors
        self.tokens, self.dim, self.prefix, self.heads = tokens, dim, prefix, heads
        self.epsilon, self.activation = epsilon, activation
        self.nodes: list = []
        self.constants: list = []
        self.macs = 0

    @cached_property
    def onnx(self) -> Any:
        """The package ``onnx``, which only a network with a part on the host needs."""
        return extra("onnx")

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant and return its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def integers(self, *values: int) -> str:
        """Add a constant of integers and return its name."""
        return self.constant(f"integers_{len(self.constants)}", np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add a node and return the name of what it makes."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def taken(self, name: str, *shape: int) -> Tensor | None:
        """Take a tensor of a shape if it is there.

        Raises
        ------
        ValueError
            It has another shape.
        """
        tensor: Tensor | None = self.tensors.pop(name, None)
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{self.source}: tensor {name} has shape {tuple(tensor.shape)}, not "
                             f"{shape}")
        return tensor

    def needed(self, name: str, *shape: int) -> Tensor:
        """Take a tensor of a shape.

        Raises
        ------
        ValueError
            It is missing, or has another shape.
        """
        tensor = self.taken(name, *shape)
        if tensor is None:
            raise ValueError(f"{self.source} lacks tensor {name} of shape {shape}")
        return tensor

    def norm(self, value: str, name: str, kind: str) -> str:
        """Normalize rows, if there is such a normalization."""
        tensor = self.taken(f"{name}.weight", self.dim)
        if tensor is None:
            return value
        gain = self.constant(f"{name}.weight", tensor.numpy())
        if kind == "layer":
            shift = self.taken(f"{name}.bias", self.dim)
            bias = [] if shift is None else [self.constant(f"{name}.bias", shift.numpy())]
            return self.add("LayerNormalization", value, gain, *bias, axis=-1,
                            epsilon=self.epsilon)
        square = self.add("ReduceMean", self.add("Mul", value, value), self.integers(-1))
        small = self.constant(f"{name}.epsilon", np.array(self.epsilon, np.float32))
        root = self.add("Sqrt", self.add("Add", square, small))
        return self.add("Mul", self.add("Div", value, root), gain)

    def token(self, value: str, index: int) -> str:
        """Return one token (1, D)."""
        place = self.constant(f"token_{len(self.nodes)}", np.array(index, np.int64))
        return self.add("Gather", value, place, axis=1)

    def mean(self, value: str) -> str:
        """Return the average (1, D) of the patches' tokens."""
        patches = self.add("Slice", value, *(self.integers(number) for number in (
            self.prefix, self.tokens, 1)))
        return self.add("ReduceMean", patches, self.integers(1), keepdims=0)

    def linear(self, value: str, name: str, inputs: int) -> str:
        """Multiply a row (1, K) by a layer's weights (N, K) and add its bias."""
        count = len(self.tensors.get(f"{name}.weight", ()))
        weight = self.needed(f"{name}.weight", count, inputs)
        self.macs += count * inputs
        return self.product(value, name, weight, self.taken(f"{name}.bias", count))

    def product(self, value: str, name: str, weight: Tensor, bias: Tensor | None) -> str:
        """Multiply rows (..., K) by weights (N, K) and add a bias."""
        product = self.add("MatMul", value, self.constant(f"{name}.weight", weight.T.numpy()))
        return product if bias is None else self.add(
            "Add", product, self.constant(f"{name}.bias", bias.numpy()))

    def activated(self, value: str) -> str:
        """Apply the activation element by element."""
        if self.activation in {"gelu", "gelu-tanh"}:
            return self.add("Gelu", value,
                            approximate="tanh" if self.activation == "gelu-tanh" else "none")
        if self.activation == "relu":
            return self.add("Relu", value)
        steep = self.constant("steepness", np.array(
            1.702 if self.activation == "quick-gelu" else 1, np.float32))
        return self.add("Mul", value, self.add("Sigmoid", self.add("Mul", value, steep)))

    def pooled(self, value: str) -> str:
        """Return what one learned query (1, D) attends to of all tokens, and an MLP of it."""
        dim, heads, width = self.dim, self.heads, self.dim // self.heads
        weights, biases = self._projections()
        name = "latent" if "attn_pool.latent" in self.tensors else "probe"
        query = weights[0].double() @ self.needed(f"attn_pool.{name}", 1, 1, dim)[0, 0].double()
        query = (query + biases[0].double()) / math.sqrt(width)
        query = self.constant("query", query.reshape(1, heads, 1, width).float().numpy())
        keys, values = (self.add("Transpose", self.add(
            "Reshape", self.product(value, f"attn_pool.{part}", weight, bias),
            self.integers(1, self.tokens, heads, width)), perm=perm)
            for part, weight, bias, perm in zip("kv", weights[1:], biases[1:],
                                                ([0, 2, 3, 1], [0, 2, 1, 3]), strict=True))
        seen = self.add("Softmax", self.add("MatMul", query, keys), axis=-1)
        context = self.add("Reshape", self.add("MatMul", seen, values), self.integers(1, dim))
        self.macs += 2 * self.tokens * dim * (dim + 1)
        context = self.linear(context, "attn_pool.proj", dim)
        hidden = self.norm(context, "attn_pool.norm", "layer")
        count = len(self.tensors.get("attn_pool.mlp.fc1.weight", ()))
        hidden = self.activated(self.linear(hidden, "attn_pool.mlp.fc1", dim))
        return self.add("Add", context, self.linear(hidden, "attn_pool.mlp.fc2", count))

    def _projections(self) -> tuple[list[Tensor], list[Tensor]]:
        """Take weights and biases of a pooling's query, keys and values, joined as they may be."""
        joined = {"qkv": 3} if "attn_pool.qkv.weight" in self.tensors else {"q": 1, "kv": 2}
        weights, biases = [], []
        for part, count in joined.items():
            rows = count * self.dim
            weight = self.needed(f"attn_pool.{part}.weight", rows, self.dim)
            bias = self.taken(f"attn_pool.{part}.bias", rows)
            weights += weight.chunk(count)
            biases += (weight.new_zeros(rows) if bias is None else bias).chunk(count)
        return weights, biases

    def host(self, outputs: dict[str, str]) -> Host:
        """Return the graph that gives values under the names of outputs."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        for name, value in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name], f"output {name}"))
        graph = helper.make_graph(
            self.nodes, "host",
            [helper.make_tensor_value_info("tokens", kind, (1, self.tokens, self.dim))],
            [helper.make_tensor_value_info(name, kind, None) for name in outputs], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                  ir_version=IR_VERSION)
        return Host(model.SerializeToString(), "tokens", tuple(outputs))

    def listed(self, reason: str) -> tuple[Node, ...]:
        """Return all nodes with the reason why they are on the host."""
        return tuple((node.op_type, node.name, reason) for node in self.nodes)


Head = tuple[str, Callable[[Tail, str], dict[str, str]]]
"""What a head is of, and what adds it to a graph behind the normalized tokens."""


def head_of(tensors: Weights, dim: int, prefix: int) -> Head | None:
    """Return a head that is not of the class token alone; None also stands for no head at all."""
    head = tensors.get("head.weight")
    if "head_dist.weight" in tensors:
        return "the class token and the distillation token", _distilled
    if "attn_pool.latent" in tensors or ("attn_pool.probe" in tensors and head is None):
        return "a learned query that attends to all tokens", _pooled
    if head is None:
        return None
    if head.dim() == 2 and head.shape[1] == 2 * dim and prefix:
        return "the class token and the average of the patches", _beside_average
    if "fc_norm.weight" in tensors or not prefix:
        return "the average of the patches", _average
    return None


def _average(tail: Tail, value: str) -> dict[str, str]:
    return {"logits": tail.linear(tail.norm(tail.mean(value), "fc_norm", "layer"), "head",
                                  tail.dim)}


def _distilled(tail: Tail, value: str) -> dict[str, str]:
    both = tail.add("Add", tail.linear(tail.token(value, 0), "head", tail.dim),
                    tail.linear(tail.token(value, 1), "head_dist", tail.dim))
    return {"logits": tail.add("Mul", both, tail.constant("half", np.array(0.5, np.float32)))}


def _beside_average(tail: Tail, value: str) -> dict[str, str]:
    both = tail.add("Concat", tail.token(value, 0), tail.mean(value), axis=-1)
    return {"logits": tail.linear(both, "head", 2 * tail.dim)}


def _pooled(tail: Tail, value: str) -> dict[str, str]:
    pooled = tail.pooled(value)
    if "head.weight" in tail.tensors:
        return {"logits": tail.linear(tail.norm(pooled, "fc_norm", "layer"), "head", tail.dim)}
    return {"last_hidden_state": value, "pooler_output": pooled}
