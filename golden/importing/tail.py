"""What follows the tokens of a checkpoint and is no head of ours, written as ONNX for the host."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from deltamoe.golden.importing.containers import Weights
from deltamoe.golden.importing.host import Host
from deltamoe.golden.importing.onnx_graph import extra

OPSET, IR_VERSION = 17, 8
"""The first opset that has a layer norm as one operator, and the format of its time."""

Node = tuple[str, str, str]
"""Operator, name and reason of a node on the host."""


class Tail:
    """A graph from the tokens (1, T, D) on, value by value.

    Parameters
    ----------
    tensors : dict
        By timm's names; what is read is taken out.
    tokens, dim, prefix : int
        Tokens, their width, and how many of them are before those of the patches.
    epsilon : float
        Of the normalizations.
    """

    def __init__(self, tensors: Weights, tokens: int, dim: int, prefix: int,
                 epsilon: float) -> None:
        self.onnx = extra("onnx")
        self.tensors, self.shape, self.prefix = tensors, (1, tokens, dim), prefix
        self.epsilon = epsilon
        self.nodes: list = []
        self.constants: list = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant and return its name."""
        self.constants.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add a node and return the name of what it makes."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def taken(self, name: str) -> str | None:
        """Take a tensor if it is there, and return its name as a constant."""
        tensor: Tensor | None = self.tensors.pop(name, None)
        return None if tensor is None else self.constant(name, tensor.float().numpy())

    def norm(self, value: str, name: str, kind: str) -> str:
        """Normalize rows, if there is such a normalization."""
        gain, bias = self.taken(f"{name}.weight"), self.taken(f"{name}.bias")
        if gain is None:
            return value
        if kind == "layer":
            return self.add("LayerNormalization", value, gain, *([] if bias is None else [bias]),
                            axis=-1, epsilon=self.epsilon)
        square = self.add("ReduceMean", self.add("Mul", value, value), axes=[-1], keepdims=1)
        small = self.constant(f"{name}.epsilon", np.array(self.epsilon, np.float32))
        root = self.add("Sqrt", self.add("Add", square, small))
        return self.add("Mul", self.add("Div", value, root), gain)

    def token(self, value: str, index: int) -> str:
        """Return one token (1, D)."""
        place = self.constant(f"token_{len(self.nodes)}", np.array(index, np.int64))
        return self.add("Gather", value, place, axis=1)

    def mean(self, value: str) -> str:
        """Return the average (1, D) of the patches' tokens."""
        numbers = (self.constant(f"{word}_{len(self.nodes)}", np.array([number], np.int64))
                   for word, number in (("first", self.prefix), ("last", self.shape[1]),
                                        ("axis", 1)))
        return self.add("ReduceMean", self.add("Slice", value, *numbers), axes=[1], keepdims=0)

    def linear(self, value: str, name: str) -> str:
        """Multiply by a layer's weights and add its bias."""
        bias = f"{name}.bias" in self.tensors
        parts = [self.taken(f"{name}.{kind}") for kind in ("weight", "bias")[: 1 + bias]]
        return self.add("Gemm", value, *parts, transB=1)

    def host(self, value: str, name: str) -> Host:
        """Return the graph with one output of this name."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        self.nodes.append(helper.make_node("Identity", [value], [name], "output"))
        graph = helper.make_graph(
            self.nodes, "host", [helper.make_tensor_value_info("tokens", kind, self.shape)],
            [helper.make_tensor_value_info(name, kind, None)], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                                  ir_version=IR_VERSION)
        return Host(model.SerializeToString(), "tokens", (name,))

    def listed(self, reason: str) -> tuple[Node, ...]:
        """Return all nodes with the reason why they are on the host."""
        return tuple((node.op_type, node.name, reason) for node in self.nodes)


def head_of(tensors: Weights, dim: int, prefix: int) -> tuple[str, Callable[[Tail, str], str]
                                                               ] | None:
    """Return what a head is of, if not of the class token alone, and what computes it.

    ``None`` also stands for no head at all.
    """
    head = tensors.get("head.weight")
    if "head_dist.weight" in tensors:
        return "the class token and the distillation token", _distilled
    if head is None:
        return None
    if head.dim() == 2 and head.shape[1] == 2 * dim and prefix:
        return "the class token and the average of the patches", _beside_average
    if "fc_norm.weight" in tensors or not prefix:
        return "the average of the patches", lambda tail, value: tail.linear(
            tail.norm(tail.mean(value), "fc_norm", "layer"), "head")
    return None


def _distilled(tail: Tail, value: str) -> str:
    both = tail.add("Add", tail.linear(tail.token(value, 0), "head"),
                    tail.linear(tail.token(value, 1), "head_dist"))
    return tail.add("Mul", both, tail.constant("half", np.array(0.5, np.float32)))


def _beside_average(tail: Tail, value: str) -> str:
    return tail.linear(tail.add("Concat", tail.token(value, 0), tail.mean(value), axis=-1), "head")
