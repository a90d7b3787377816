"""An ONNX file as a model of one image, in float32, whose constants are folded."""

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_run import LARGEST, extra, line, session

if TYPE_CHECKING:
    import onnx


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
            if apart else "is not a complete ONNX file") + f" ({line(error)})") from None
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
            session(model.SerializeToString(), optimized_model_filepath=str(target),
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
        raise ValueError(f"{path}: shapes do not fit each other ({line(error)})") from None
    for item in (*known.value_info, *known.output, *known.initializer):
        dims = item.dims if hasattr(item, "dims") else [
            dim.dim_value for dim in item.type.tensor_type.shape.dim]
        if math.prod(dims) > LARGEST // 4:
            raise ValueError(f"{path}: {item.name} has the shape {tuple(dims)}, more than "
                             f"{LARGEST // 4} numbers")
