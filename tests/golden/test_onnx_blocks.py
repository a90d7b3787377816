"""Blocks of an ONNX graph in the forms that programs give them: joined, fused, with experts."""

import re
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from torch import Tensor, nn
from torch.nn import functional

from deltamoe.golden.importing.memory import limited
from deltamoe.golden.importing.onnx_run import run
from deltamoe.golden.importing.options import Options
from deltamoe.golden.importing.preprocessing import NAMED
from deltamoe.golden.importing.source import FloatNetwork, load
from tests.golden.test_onnx import distance, export, randomized

EXPERTS, CHOSEN = 4, 2


class Mixture(nn.Module):
    """Experts behind a gate, written by ``kind`` as programs write them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.gate = nn.Linear(32, EXPERTS, bias=kind == "gate with a bias")
        self.w1, self.w2 = (nn.Parameter(torch.randn(EXPERTS, *shape)) for shape in (
            (24, 32), (32, 24)))
        self.b1, self.b2 = (nn.Parameter(torch.randn(EXPERTS, width)) for width in (24, 32))
        self.shared = nn.Sequential(nn.Linear(32, 24), nn.GELU(), nn.Linear(24, 32)) if (
            kind == "shared") else nn.Linear(32, 32)

    def forward(self, h: Tensor) -> Tensor:
        values, chosen = self.gate(h).softmax(-1).topk(CHOSEN, -1)
        if self.kind == "normalized":
            values = values / values.sum(-1, keepdim=True)
        weights = torch.zeros(*h.shape[:-1], EXPERTS).scatter(-1, chosen, values)
        routed = getattr(self, f"by_{self.kind}", self.by_einsum)(h, weights, values, chosen)
        return routed + self.shared(h) if "shared" in self.kind else routed

    def by_einsum(self, h: Tensor, weights: Tensor, *_: Tensor) -> Tensor:
        hidden = functional.gelu(torch.einsum("btd,efd->btef", h, self.w1) + self.b1)
        out = torch.einsum("btef,edf->bted", hidden, self.w2) + self.b2
        return (out * weights[..., None]).sum(-2)

    def by_weights_first(self, h: Tensor, weights: Tensor, *_: Tensor) -> Tensor:
        hidden = functional.gelu(torch.einsum("btd,efd->ebtf", h, self.w1) + self.b1[:, None, None])
        out = torch.einsum("ebtf,edf->ebtd", hidden, self.w2)
        return torch.einsum("ebtd,bte->btd", out, weights) + weights @ self.b2

    def expert(self, h: Tensor, number: int) -> Tensor:
        hidden = functional.gelu(functional.linear(h, self.w1[number], self.b1[number]))
        return functional.linear(hidden, self.w2[number], self.b2[number])

    def by_loop(self, h: Tensor, weights: Tensor, *_: Tensor) -> Tensor:
        return sum(self.expert(h, number) * weights[..., number, None]
                   for number in range(EXPERTS))

    def by_mask(self, h: Tensor, _: Tensor, values: Tensor, chosen: Tensor) -> Tensor:
        out = torch.zeros_like(h)
        for number in range(EXPERTS):
            mine = ((chosen == number).float() * values).sum(-1, keepdim=True)
            out = out + mine * self.expert(h, number)
        return out

    def by_picking(self, h: Tensor, _: Tensor, values: Tensor, chosen: Tensor) -> Tensor:
        out = torch.zeros_like(h[0])
        for number in range(EXPERTS):
            tokens, place = torch.where(chosen[0] == number)
            out = out.index_add(0, tokens, self.expert(h[0][tokens], number)
                                * values[0][tokens, place, None])
        return out[None]


class Plain(nn.Module):
    """A vision transformer of PyTorch's layers, changed by ``kind``."""

    def __init__(self, kind: str = "", mixture: str = "", layers: int = 2) -> None:
        super().__init__()
        self.kind = kind
        self.embed = nn.Linear(48, 32) if kind == "linear patches" else nn.Conv2d(3, 32, 4, 4)
        self.first, self.position = (nn.Parameter(torch.randn(1, count, 32)) for count in (1, 17))
        self.blocks = nn.ModuleList(nn.ModuleDict({
            "norm1": nn.LayerNorm(32), "norm2": nn.LayerNorm(32), "qkv": nn.Linear(32, 96),
            "proj": nn.Linear(32, 32), "mlp": Mixture(mixture) if mixture and number % 2 else (
                nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)))})
            for number in range(layers))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, image: Tensor) -> Tensor:
        if self.kind == "linear patches":  # pixels before channels, as einops writes it
            x = image.reshape(1, 3, 4, 4, 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(1, 16, 48)
            x = self.embed(x)
        else:
            x = self.embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.first, x], 1) + self.position
        for block in self.blocks:
            x = x + self.attention(block, block["norm1"](x))
            x = x + block["mlp"](block["norm2"](x))
        if self.kind == "token first":
            return self.head(self.norm(x[:, 0]))
        return self.head(self.norm(x)[:, 0])

    def attention(self, block: nn.ModuleDict, h: Tensor) -> Tensor:
        q, k, v = block["qkv"](h).reshape(1, 17, 3, 2, 16).permute(2, 0, 3, 1, 4)
        if self.kind == "einsum":
            scores = torch.einsum("bhid,bhjd->bhij", q, k) * 0.25
            h = torch.einsum("bhij,bhjd->bihd", scores.softmax(-1), v).flatten(2)
        elif self.kind == "fused":
            h = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        else:
            scores = q @ k.transpose(-1, -2) * 0.25
            h = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return block["proj"](h)


def agrees(model: nn.Module, network: FloatNetwork) -> bool:
    """Whether all of a network is on the accelerator, and its scores are those of the module."""
    pixels = torch.randint(0, 256, (3, 16, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        _, scores = network.model().double()(pixels.double())
        expected = model((pixels[None].float() / 255 - 0.5) / 0.5)
    return network.host is None and distance(scores, expected[0]) > 100


def read(path: Path) -> FloatNetwork:
    return load(path, Options(preprocessing=NAMED["half"]))


@pytest.mark.parametrize("exporter", ["older", "dynamo"])
@pytest.mark.parametrize("kind", ["einsum", "linear patches", "token first", "fused"])
def test_a_form_of_a_block_is_read(tmp_path: Path, kind: str, exporter: str) -> None:
    model = randomized(Plain(kind))
    export(model, tmp_path / "net.onnx", exporter)
    assert agrees(model, read(tmp_path / "net.onnx"))


class Encoder(nn.Module):
    """Of PyTorch's own encoder, whose attention has the tokens first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, 32, 4, 4), nn.Linear(32, 5)
        self.first, self.position = (nn.Parameter(torch.randn(1, count, 32)) for count in (1, 17))
        layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, norm_first=True,
                                           activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), False)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.cat([self.first, self.embed(image).flatten(2).transpose(1, 2)], 1)
        return self.head(self.encoder(x + self.position)[:, 0])


@pytest.mark.parametrize("exporter", ["older", "dynamo"])
def test_pytorch_s_own_encoder_is_read(tmp_path: Path, exporter: str) -> None:
    model = randomized(Encoder())
    export(model, tmp_path / "net.onnx", exporter)
    assert agrees(model, read(tmp_path / "net.onnx"))


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("exporter", ["older", "dynamo"])
def test_constants_may_be_folded_or_not(tmp_path: Path, exporter: str, *, folded: bool) -> None:
    """Positions are interpolated in the graph, and a mask that hides nothing is made there."""
    transformers.logging.disable_progress_bar()
    model = randomized(transformers.ViTForImageClassification(transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=24, patch_size=4,
        intermediate_size=64, num_labels=5, attn_implementation="eager")))

    class Interpolated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> Tensor:
            return self.model(image, interpolate_pos_encoding=True).logits

    whole, path = Interpolated().eval(), tmp_path / "net.onnx"
    settings = {"optimize": folded} if exporter == "dynamo" else {"do_constant_folding": folded}
    export(whole, path, exporter, opset=17, **settings)
    if not folded:
        assert sum(node.op_type == "Resize" for node in onnx.load(path).graph.node) == 1
    network = read(path)
    assert network.config.num_tokens == 17
    assert agrees(whole, network)


@pytest.mark.parametrize("exporter", ["older", "dynamo"])
@pytest.mark.parametrize("kind", ["einsum", "weights_first", "loop", "mask"])
def test_experts_are_read_whole(tmp_path: Path, kind: str, exporter: str) -> None:
    """However they are written, their weights are those of the module, bit for bit."""
    torch.manual_seed(7)
    model = Plain(mixture=kind).eval()
    export(model, tmp_path / "net.onnx", exporter)
    network = read(tmp_path / "net.onnx")
    assert agrees(model, network)
    config = network.config
    assert (config.num_experts, config.top_k, config.expert_dim) == (EXPERTS, CHOSEN, 24)
    mixture = model.blocks[1]["mlp"]
    for name, tensor in {"gate.0.w_gate": mixture.gate.weight.T, "experts.htoh4.weight": mixture.w1,
                         "experts.htoh4.bias": mixture.b1, "experts.h4toh.weight": mixture.w2,
                         "experts.h4toh.bias": mixture.b2}.items():
        assert torch.equal(network.weights[f"blocks.1.mlp.{name}"], tensor), name


@pytest.mark.parametrize(("kind", "words"), [
    ("gate with a bias", "a gate with a bias is not computed"),
    ("normalized", "weights of the chosen experts are normalized to a sum of one"),
    ("picking", "experts whose tokens are picked (NonZero) cannot be read"),
    ("shared layer", "beside the experts that a gate weighs, something is added"),
    ("shared", "beside the experts that a gate weighs, something is added"),
])
def test_other_experts_stay_on_the_host_by_name(tmp_path: Path, kind: str, words: str) -> None:
    model = Plain(mixture=kind).eval()
    export(model, tmp_path / "net.onnx")
    network = read(tmp_path / "net.onnx")
    assert network.config.num_layers == 1
    reason, = {reason for *_, reason in network.nodes}
    assert words in reason
    assert "\n" not in reason


@pytest.mark.parametrize(("kept", "words"), [
    ([1, 2], "of its blocks [0, 1], [0] have experts; the accelerator has them in all odd ones"),
    ([0, 1, 2, 0], "of its blocks [0, 1, 2, 3], [1] have experts"),
])
def test_experts_in_other_blocks_are_refused(tmp_path: Path, kept: list[int], words: str) -> None:
    model = Plain(mixture="einsum", layers=3).eval()
    model.blocks = nn.ModuleList(model.blocks[number] for number in kept)
    export(model, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=re.escape(words)):
        read(tmp_path / "net.onnx")


@pytest.mark.parametrize("kind", ["vit", "runtime"])
def test_what_onnx_runtime_fuses_is_taken_apart(tmp_path: Path, kind: str) -> None:
    """By its tool for transformers, and when it saves what it optimized."""
    model, path = randomized(Plain()), tmp_path / "net.onnx"
    export(model, path, opset=17)
    if kind == "vit":
        optimize_model(str(path), model_type="vit", num_heads=2, hidden_size=32, opt_level=0,
                       optimization_options=FusionOptions("vit")).save_model_to_file(str(path))
    else:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = (
            onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(path.read_bytes(), options)
    assert {node.domain for node in onnx.load(path).graph.node} > {""}
    assert agrees(model, read(path))


def attention(graph: onnx.GraphProto, block: int) -> tuple[int, str]:
    """Return where a block's projection is in a graph, and the tokens that its attention reads."""
    softmax = [place for place, node in enumerate(graph.node) if node.op_type == "Softmax"][block]
    norm = [node for node in graph.node[:softmax] if node.op_type == "LayerNormalization"][-1]
    square = {item.name for item in graph.initializer if tuple(item.dims) == (32, 32)}
    return next(place for place in range(softmax, len(graph.node)) if square & set(
        graph.node[place].input)), norm.output[0]


def runtime_attention(model: Plain, block: int, value: str, result: str) -> tuple[list, list]:
    qkv = model.blocks[block]["qkv"]
    constants = {f"w{block}": qkv.weight.T, f"b{block}": qkv.bias}
    return [helper.make_node("Attention", [value, *constants], [result], domain="com.microsoft",
                             num_heads=2)], constants


def split(model: Plain, block: int, value: str) -> tuple[list, dict, list[str]]:
    qkv = model.blocks[block]["qkv"]
    nodes, constants, results = [], {}, []
    for part, weight, bias in zip("qkv", qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True):
        constants |= {f"w{part}{block}": weight.T, f"b{part}{block}": bias}
        nodes += [helper.make_node("MatMul", [value, f"w{part}{block}"], [f"m{part}{block}"]),
                  helper.make_node("Add", [f"m{part}{block}", f"b{part}{block}"],
                                   [f"{part}{block}"])]
        results.append(f"{part}{block}")
    return nodes, constants, results


def runtime_heads(model: Plain, block: int, value: str, result: str) -> tuple[list, dict]:
    nodes, constants, parts = split(model, block, value)
    return [*nodes, helper.make_node("MultiHeadAttention", parts, [result],
                                     domain="com.microsoft", num_heads=2)], constants


def biased_heads(model: Plain, block: int, value: str, result: str) -> tuple[list, dict]:
    nodes, constants, parts = split(model, block, value)
    kept = {name: tensor for name, tensor in constants.items() if name.startswith("w")}
    return [*nodes[::2], helper.make_node(
        "MultiHeadAttention", [f"m{part}" for part in parts] + [f"b{block}"], [result],
        domain="com.microsoft", num_heads=2)], kept | {f"b{block}": model.blocks[block]["qkv"].bias}


def standard(model: Plain, block: int, value: str, result: str) -> tuple[list, dict]:
    nodes, constants, parts = split(model, block, value)
    return [*nodes, helper.make_node("Attention", parts, [result], q_num_heads=2,
                                     kv_num_heads=2)], constants


def causal(model: Plain, block: int, value: str, result: str) -> tuple[list, dict]:
    nodes, constants = standard(model, block, value, result)
    nodes[-1].attribute.append(helper.make_attribute("is_causal", 1))
    return nodes, constants


def replaced(path: Path, model: Plain, make: Callable) -> None:
    """Put other operators in place of all attentions."""
    exported = onnx.load(path)
    graph = exported.graph
    for block in range(2):
        place, value = attention(graph, block)
        nodes, constants = make(model, block, value, f"context{block}")
        graph.node[place].input[0] = f"context{block}"
        for offset, node in enumerate(nodes):
            graph.node.insert(place + offset, node)
        graph.initializer.extend(numpy_helper.from_array(
            np.ascontiguousarray(tensor.detach().numpy()), name)
            for name, tensor in constants.items())
    del exported.opset_import[:]
    exported.opset_import.extend([helper.make_opsetid("", 23 if make in (standard, causal) else 17),
                                  helper.make_opsetid("com.microsoft", 1)])
    exported.ir_version = 10
    onnx.save(exported, path)


@pytest.mark.parametrize("make", [runtime_attention, runtime_heads, biased_heads, standard])
def test_an_attention_in_one_operator_is_taken_apart(tmp_path: Path, make: Callable) -> None:
    """ONNX Runtime's two, and that of opset 23."""
    model, path = randomized(Plain()), tmp_path / "net.onnx"
    export(model, path, opset=17)
    replaced(path, model, make)
    assert sum("Attention" in node.op_type for node in onnx.load(path).graph.node) == 2
    assert agrees(model, read(path))


def test_a_causal_attention_is_refused(tmp_path: Path) -> None:
    model, path = randomized(Plain()), tmp_path / "net.onnx"
    export(model, path, opset=17)
    replaced(path, model, causal)
    with pytest.raises(ValueError, match="a fused attention with causal order is not computed"):
        read(path)


def test_half_precision_is_read_in_float32(tmp_path: Path) -> None:
    """Weights, inputs and casts of a file in float16; its numbers are kept."""
    model, path = randomized(Plain()), tmp_path / "net.onnx"
    export(model, path, opset=17)
    exported = onnx.load(path)
    for item in exported.graph.initializer:
        if item.data_type == TensorProto.FLOAT:
            item.CopyFrom(numpy_helper.from_array(
                numpy_helper.to_array(item).astype(np.float16), item.name))
    for item in (*exported.graph.input, *exported.graph.output):
        item.type.tensor_type.elem_type = TensorProto.FLOAT16
    for node in exported.graph.node:
        for item in node.attribute:
            if item.type == item.TENSOR and item.t.data_type == TensorProto.FLOAT:
                item.t.CopyFrom(numpy_helper.from_array(
                    numpy_helper.to_array(item.t).astype(np.float16)))
    del exported.graph.value_info[:]
    onnx.save(exported, path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    assert agrees(model, read(path))


def test_a_value_whose_shape_no_one_tells_takes_no_memory(tmp_path: Path) -> None:
    """It is 32 GiB by a power that only running computes; what is bounded is the address space."""
    constants = [numpy_helper.from_array(np.array(value, np.float32), name)
                 for name, value in (("two", [2]), ("power", [33]))]
    nodes = [helper.make_node("Pow", ["two", "power"], ["count"]),
             helper.make_node("Cast", ["count"], ["shape"], to=TensorProto.INT64),
             helper.make_node("ConstantOfShape", ["shape"], ["huge"])]
    model = helper.make_model(helper.make_graph(
        nodes, "bomb", [], [helper.make_tensor_value_info("huge", TensorProto.FLOAT, ["n"])],
        constants), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(ValueError, match="ONNX Runtime cannot run this part"):
        run(model.SerializeToString(), {})
    assert resource.getrlimit(resource.RLIMIT_AS) == limits
    with limited(1 << 28), pytest.raises(MemoryError):
        bytearray(1 << 29)


@pytest.mark.parametrize("change", [
    lambda file: file.unlink(), lambda file: file.write_bytes(file.read_bytes()[:999])])
def test_weights_in_a_file_that_is_not_there_are_named(tmp_path: Path, change: Callable) -> None:
    path = tmp_path / "net.onnx"
    export(randomized(Plain()), path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin",
              size_threshold=0)
    assert read(path).config.num_layers == 2
    change(tmp_path / "weights.bin")
    with pytest.raises(ValueError, match=r"net\.onnx keeps weights in a file beside it") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_branches_are_refused(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 16, 16])
              for name in ("image", "out")]
    branch = helper.make_graph([helper.make_node("Identity", ["image"], ["inner"])], "branch", [],
                               [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)])
    nodes = [helper.make_node("ReduceSum", ["image"], ["sum"], keepdims=0),
             helper.make_node("Cast", ["sum"], ["condition"], to=TensorProto.BOOL),
             helper.make_node("If", ["condition"], ["out"], then_branch=branch,
                              else_branch=branch)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "branches", values[:1], values[1:]),
                                opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
              tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=re.escape("it has control flow (If), which is not read")):
        read(tmp_path / "net.onnx")
