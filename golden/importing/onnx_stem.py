"""What of an ONNX graph makes tokens of an image."""

import numpy as np

from deltamoe.golden.importing.onnx_graph import Graph
from deltamoe.golden.importing.onnx_layers import FUSED_NORMS, UnmatchedError


def stem(graph: Graph, tokens: str) -> dict[str, np.ndarray]:
    """Return the patch embedding, the positions, and zeros for the tokens before the patches.

    Tokens before the patches are a part of their positions.
    """
    nodes = graph.between(graph.inputs[0], tokens)
    if any(node.op_type in FUSED_NORMS or node.op_type == "ReduceMean" for node in nodes):
        raise UnmatchedError("a normalization before the first block, as CLIP has one, is not "
                             "computed; blocks normalize within, and what follows the last does")
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
