"""An ONNX file as a graph whose constants are folded: who makes and who reads a value.

The packages ``onnx`` and ONNX Runtime are the extra ``onnx``, imported when a graph is read.
"""

import math
import tempfile
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deltamoe.golden.importing.memory import limited

if TYPE_CHECKING:
    import onnx

LARGEST = 2 << 30
"""Bytes of a file; ONNX's own format holds no more."""

WORKING = 4 * LARGEST
"""Bytes that a model may take to be folded or run; shapes that no one can tell are bounded so."""


def extra(name: str) -> Any:
    """Import a package of the extra ``onnx``.

    Raises
    ------
    ValueError
        It is not installed; says how to.
    """
    try:
        return __import__(name)
    except ImportError:
        raise ValueError(f"ONNX needs the package {name}: pip install 'deltamoe[onnx]'") from None


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


def run(model: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a model on one thread.

    Raises
    ------
    ValueError
        ONNX Runtime cannot.
    """
    return runner(model)(inputs)


def runner(model: bytes) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """Return what runs a model on one thread, and raises ValueError if ONNX Runtime cannot."""
    session = _session(model)

    def started(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            with limited(WORKING):
                return session.run(None, inputs)
        # ONNX Runtime raises exceptions of its own without a common base.
        except Exception as error:
            raise ValueError(f"ONNX Runtime cannot run this part ({_line(error)})") from None

    return started


def _session(model: bytes, **settings: object) -> Any:
    runtime = extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    skipped = settings.pop("disabled_optimizers", [])
    for name, value in settings.items():
        setattr(options, name, value)
    try:
        with limited(WORKING):
            return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"],
                                            disabled_optimizers=skipped)
    # As above.
    except Exception as error:
        raise ValueError(f"ONNX Runtime refuses it ({_line(error)})") from None


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def read(path: Path, image: tuple[int, int] | None = None) -> "onnx.ModelProto":
    """Read a model for a batch of one image, and fold what does not depend on the image.

    Half precision becomes float32, which has all its numbers.

    Parameters
    ----------
    path : Path
        File of opset 11 or newer; its external data lies in the same folder.
    image : tuple of int, optional
        Height and width, where the file leaves them open.

    Raises
    ------
    ValueError
        The file is damaged, too large or has no single image as its input; or the size of an image
        has to be said.
    """
    onnx = extra("onnx")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}")
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    # Protobuf's errors, and onnx's own, have no common base.
    except Exception as error:
        apart = "stored in" in str(error) or "External data" in str(error)
        raise ValueError(f"{path} " + (
            "keeps weights in a file beside it, which is missing or not the whole one"
            if apart else "is not a complete ONNX file") + f" ({_line(error)})") from None
    opset = max((item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}),
                default=0)
    if opset < 11:
        raise ValueError(f"{path} is of opset {opset}; 11 and newer are read")
    _single(model)
    _shape_input(model, path, image)
    _check_values(model, path)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "folded.onnx"
        runtime = extra("onnxruntime")
        try:
            _session(model.SerializeToString(), optimized_model_filepath=str(target),
                     graph_optimization_level=runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
                     disabled_optimizers=["MatMulAddFusion", "TransposeOptimizer"])
            return _folded(onnx.load(str(target)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _folded(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Make constants of what still does not depend on the image: ONNX Runtime keeps some of it."""
    graph = Graph(model)
    known = {name for name in graph.makers if not graph.depends[name] & set(graph.inputs)}
    kept = [node for node in graph.nodes if not known & set(node.output)]
    read_there = {name for node in kept for name in node.input}
    wanted = sorted(known & (read_there | set(graph.outputs)) - {""})
    if not wanted:
        return model
    values = graph.function([], wanted)({})
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(extra("onnx").numpy_helper.from_array(value, name)
                                   for name, value in zip(wanted, values, strict=True))
    return model


def _single(model: "onnx.ModelProto") -> None:
    """Make float32 of all numbers in half precision."""
    onnx = extra("onnx")
    halves, single = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16), onnx.TensorProto.FLOAT
    graph = model.graph
    attributes = [item for node in graph.node for item in node.attribute]
    tensors = [*graph.initializer, *(item.t for item in attributes if item.type == item.TENSOR)]
    if not any(tensor.data_type in halves for tensor in tensors):
        return
    for tensor in tensors:
        if tensor.data_type in halves:
            value = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    for item in attributes:
        if item.name in ("to", "dtype", "stash_type") and item.i in halves:
            item.i = single
    for item in (*graph.input, *graph.output):
        if item.type.tensor_type.elem_type in halves:
            item.type.tensor_type.elem_type = single


def _shape_input(model: "onnx.ModelProto", path: Path, image: tuple[int, int] | None) -> None:
    """Fix the shape of the input to one image."""
    stored = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in stored]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ValueError(f"{path} has the inputs {', '.join(item.name for item in inputs)}; one of "
                         "batch, channels, height and width is read")
    dims = inputs[0].type.tensor_type.shape.dim
    for place, (dim, name) in enumerate(zip(dims, ("batch", "channels", "height", "width"),
                                            strict=True)):
        fixed = dim.dim_value if dim.HasField("dim_value") else 0
        wanted = 1 if place == 0 else 0 if place == 1 else (image or (0, 0))[place - 2]
        if fixed and wanted and fixed != wanted:
            raise ValueError(f"{path} takes a {name} of {fixed}, not {wanted}; export it with "
                             "another, or with an open one")
        if not (fixed or wanted):
            raise ValueError(f"{path} leaves the {name} of its images open; " + (
                "export it with a fixed one" if place == 1 else "say --image HEIGHTxWIDTH"))
        dim.ClearField("dim_param")
        dim.dim_value = fixed or wanted
    del model.graph.value_info[:]
    for item in model.graph.output:
        item.type.tensor_type.ClearField("shape")


def _check_values(model: "onnx.ModelProto", path: Path) -> None:
    """Raise ValueError if a value is so large that folding would take all memory."""
    onnx = extra("onnx")
    try:
        known = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    # As above.
    except Exception as error:
        raise ValueError(f"{path}: shapes do not fit each other ({_line(error)})") from None
    for item in (*known.value_info, *known.output, *known.initializer):
        dims = item.dims if hasattr(item, "dims") else [
            dim.dim_value for dim in item.type.tensor_type.shape.dim]
        if math.prod(dims) > LARGEST // 4:
            raise ValueError(f"{path}: {item.name} has the shape {tuple(dims)}, more than "
                             f"{LARGEST // 4} numbers")
