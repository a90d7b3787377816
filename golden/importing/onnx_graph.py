"""A model as a graph: who makes and who reads a value, and what a part of it computes."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from deltamoe.golden.importing.onnx_run import extra, run, runner

if TYPE_CHECKING:
    import onnx


class Graph:
    """Nodes of a model in order, its constants, and shapes of its values.

    Parameters
    ----------
    model : onnx.ModelProto
        Without control flow.
    """

    def __init__(self, model: "onnx.ModelProto") -> None:
        onnx = extra("onnx")
        self.model = onnx.shape_inference.infer_shapes(model)
        graph = self.model.graph
        self.nodes = list(graph.node)
        self.constants = {item.name: onnx.numpy_helper.to_array(item)
                          for item in graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = onnx.numpy_helper.to_array(
                    node.attribute[0].t)
        self.inputs = [item.name for item in graph.input if item.name not in self.constants]
        self.outputs = [item.name for item in graph.output]
        self.measured: dict[str, tuple[int, ...]] = {}
        self.types = {item.name: item.type.tensor_type
                      for item in (*graph.value_info, *graph.input, *graph.output)}
        inner = next((node.op_type for node in self.nodes for item in node.attribute
                      if item.type in (item.GRAPH, item.GRAPHS)), None)
        if inner is not None:
            raise ValueError(f"it has control flow ({inner}), which is not read; export it with "
                             "fixed shapes and without branches")
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        unknown = [name for name in self.makers if name and min(self.shape(name), default=-1) < 0]
        if unknown and len(self.inputs) == 1:
            self.measured = self._measure(unknown)

    def _measure(self, names: list[str]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of values behind operators that ONNX does not know, by running them."""
        onnx = extra("onnx")
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        source, = self.inputs
        image = np.zeros(self.shape(source), np.float32)
        return {name: value.shape for name, value in zip(
            names, run(model.SerializeToString(), {source: image}), strict=True)}

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value; -1 where it is not known, none at all if nothing is."""
        if name in self.constants:
            return self.constants[name].shape
        if name in self.measured:
            return self.measured[name]
        kind = self.types.get(name)
        return () if kind is None else tuple(
            dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)

    def dynamic(self, node: "onnx.NodeProto") -> list[str]:
        """Return the inputs of a node that are no constants."""
        return [name for name in node.input if name and name not in self.constants]

    def constant(self, node: "onnx.NodeProto") -> np.ndarray | None:
        """Return the one constant among a node's inputs, or None."""
        found = [self.constants[name] for name in node.input if name in self.constants]
        return found[0] if len(found) == 1 else None

    def before(self, name: str, stop: Iterable[str] = ()) -> list["onnx.NodeProto"]:
        """Return the nodes that a value needs, in order, without those that make ``stop``."""
        needed, waiting, stop = set(), [name], set(stop)
        while waiting:
            value = waiting.pop()
            node = self.makers.get(value)
            if value in stop or node is None or node.output[0] in needed:
                continue
            needed.add(node.output[0])
            waiting += [name for name in node.input if name]
        return [node for node in self.nodes if node.output[0] in needed]

    @cached_property
    def depends(self) -> dict[str, set[str]]:
        """By value, the values that it is made of, itself included."""
        found: dict[str, set[str]] = {name: {name} for name in self.inputs}
        for node in self.nodes:
            made_of = set().union(*(found.get(name, set()) for name in node.input))
            for name in node.output:
                found[name] = made_of | {name}
        return found

    def between(self, first: str, last: str) -> list["onnx.NodeProto"]:
        """Return the nodes by which ``last`` depends on ``first``, in order."""
        return [node for node in self.before(last, [first])
                if any(first in self.depends.get(name, ()) for name in node.input)]

    def part(self, inputs: list[str], outputs: list[str]) -> "onnx.ModelProto":
        """Return the model that makes ``outputs`` of ``inputs``, which are float.

        Raises
        ------
        ValueError
            An output needs another input of the graph.
        """
        onnx = extra("onnx")
        needed = {node.output[0] for name in outputs for node in self.before(name, inputs)}
        nodes = [node for node in self.nodes if node.output[0] in needed]
        read = {name for node in nodes for name in node.input} | set(outputs)
        for name in (read - set(inputs)) & set(self.inputs):
            raise ValueError(f"an output needs {name} beside {', '.join(inputs)}")
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            nodes, "part",
            [helper.make_tensor_value_info(name, kind, self.shape(name) or None)
             for name in inputs],
            [helper.make_tensor_value_info(
                name, self.types[name].elem_type if name in self.types else kind,
                self.shape(name) or None) for name in outputs],
            [item for item in self.model.graph.initializer if item.name in read])
        return helper.make_model(graph, opset_imports=self.model.opset_import,
                                 ir_version=self.model.ir_version)

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Compute values of others."""
        return self.function(list(inputs), outputs)(inputs)

    def function(self, inputs: list[str], outputs: list[str], zero: Iterable[str] = ()
                 ) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
        """Return what computes values of others, with zeros for some constants."""
        model, zero = self.part(inputs, outputs), set(zero)
        for item in model.graph.initializer:
            if item.name in zero:
                item.CopyFrom(extra("onnx").numpy_helper.from_array(
                    np.zeros_like(self.constants[item.name]), item.name))
        return runner(model.SerializeToString())
