"""Networks of transformers, saved and exported both ways, are the same network here."""

import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from deltamoe.api.importing import import_network
from deltamoe.api.inference import infer
from deltamoe.golden.config import ModelConfig
from deltamoe.golden.data.images import load_image
from deltamoe.golden.importing.options import Options
from deltamoe.golden.importing.preprocessing import NAMED
from deltamoe.golden.importing.source import FloatNetwork, load
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.seeded import seeded

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
         "patch_size": 4, "initializer_range": 0.2}
WIDE = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}


class Case(NamedTuple):
    """A network of transformers, its processor, whether all of it is on the accelerator."""

    model: nn.Module
    processor: transformers.image_processing_utils.BaseImageProcessor
    whole: bool
    exporters: tuple[str, ...] = ("dynamo", "older")


def cases() -> dict[str, Case]:
    t = transformers
    mlp = {"intermediate_size": 64}
    return {
        "vit": Case(t.ViTForImageClassification(t.ViTConfig(**SIZES, **mlp, num_labels=5)),
                    t.ViTImageProcessorPil(size=16), True),
        "deit": Case(t.DeiTForImageClassification(t.DeiTConfig(**SIZES, **mlp, num_labels=3)),
                     t.DeiTImageProcessorPil(size=20, crop_size=16), True),
        "dinov2": Case(t.Dinov2Model(t.Dinov2Config(**SIZES, mlp_ratio=2)),
                       t.BitImageProcessorPil(**WIDE), False),
        "registers": Case(t.Dinov2WithRegistersModel(
            t.Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2)), t.BitImageProcessorPil(**WIDE),
            False, ("dynamo",)),
        "average": Case(t.Dinov2ForImageClassification(
            t.Dinov2Config(**SIZES, mlp_ratio=2, num_labels=6)), t.BitImageProcessorPil(**WIDE),
            False, ("older",)),
        "distilled": Case(t.DeiTForImageClassificationWithTeacher(
            t.DeiTConfig(**SIZES, **mlp, num_labels=3)),
            t.DeiTImageProcessorPil(size=20, crop_size=16), False, ("older",)),
        "siglip": Case(t.SiglipVisionModel(t.SiglipVisionConfig(**{
            key: value for key, value in (SIZES | mlp).items() if key != "initializer_range"})),
            t.SiglipImageProcessorPil(size={"height": 16, "width": 16}), False),
    }


def export(model: nn.Module, path: Path, exporter: str = "older", opset: int = 14,
           size: tuple[int, int] = (16, 16), **settings: bool) -> None:
    """Export by either of PyTorch's exporters; neither is silent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            if exporter == "dynamo":
                torch.onnx.export(model, (torch.zeros(1, 3, *size),), path, dynamo=True,
                                  verbose=False, **settings)
            else:
                torch.onnx.export(model, (torch.zeros(1, 3, *size),), path, dynamo=False,
                                  opset_version=opset, input_names=["image"],
                                  dynamic_axes={"image": {0: "batch"}}, **settings)
        finally:
            logging.disable(logging.NOTSET)


def randomized(model: nn.Module) -> nn.Module:
    """Give biases, tokens, positions and scales values of their own."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Case, Path]]]:
    """Each network in a folder of its own, which has its ONNX files too."""
    transformers.logging.disable_progress_bar()
    saved_networks = {}
    for name, case in cases().items():
        folder = tmp_path_factory.mktemp("saved") / name
        randomized(case.model)
        case.model.save_pretrained(folder)
        case.processor.save_pretrained(folder)
        for exporter in case.exporters:
            export(case.model, folder / f"{exporter}.onnx", exporter)
        saved_networks[name] = case, folder
    yield saved_networks
    transformers.logging.enable_progress_bar()


def pictures(folder: Path, count: int = 2) -> list[Path]:
    rng = np.random.default_rng(3)
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(rng.integers(0, 256, (30 + number, 41, 3), np.uint8)).save(path)
    return paths


def distance(value: Tensor, reference: Tensor) -> float:
    """Signal-to-noise ratio, in dB."""
    noise = (value.double() - reference.double()).square().sum()
    return float(10 * torch.log10(reference.double().square().sum() / noise))


NAMES = ("vit", "deit", "dinov2", "registers", "average", "distilled", "siglip")


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_those_of_the_network_s_own_processor(
        saved: dict, tmp_path: Path, name: str) -> None:
    case, folder = saved[name]
    network = load(folder)
    for path in pictures(tmp_path):
        wanted = case.processor(Image.open(path), return_tensors="pt")["pixel_values"][0]
        pixels = load_image(path, network.config, network.preprocessing)
        mean, std = (torch.tensor(getattr(network.preprocessing, part))[:, None, None]
                     for part in ("mean", "std"))
        assert torch.allclose((pixels / 255 - mean) / std, wanted, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_both_exports_and_the_checkpoint_are_the_same_bits(
        saved: dict, tmp_path: Path, name: str) -> None:
    case, folder = saved[name]
    direct = load(folder)
    images = [load_image(path, direct.config, direct.preprocessing)
              for path in pictures(tmp_path)]
    expected = quantize(direct.model(), images)
    for exporter in case.exporters:
        network = load(folder / f"{exporter}.onnx", Options(preprocessing=direct.preprocessing))
        assert (network.host is None, not network.nodes) == (case.whole, case.whole)
        assert vars(network.config) | {"name": name} == vars(direct.config)
        for key, tensor in direct.weights.items():
            assert torch.equal(network.weights[key], tensor), key
        quantized = quantize(network.model(), images)
        assert quantized.tensors.keys() == expected.tensors.keys()
        for key, tensor in expected.tensors.items():
            assert torch.equal(quantized[key], tensor), key


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_onnx_runtime(saved: dict, tmp_path: Path, name: str) -> None:
    """To 100 dB, those of the host too, and under the names that the file gives them."""
    case, folder = saved[name]
    preprocessing = load(folder).preprocessing
    path, = pictures(tmp_path, 1)
    wanted = case.processor(Image.open(path), return_tensors="np")["pixel_values"]
    for exporter in case.exporters:
        file = folder / f"{exporter}.onnx"
        network = load(file, Options(preprocessing=preprocessing))
        session = onnxruntime.InferenceSession(file)
        expected = dict(zip((item.name for item in session.get_outputs()), session.run(
            None, {session.get_inputs()[0].name: wanted}), strict=True))
        pixels = load_image(path, network.config, preprocessing)
        with torch.no_grad():
            tokens, scores = network.model().double()(pixels.double())
        outputs = {next(iter(expected)): scores[None].numpy()} if case.whole else (
            network.host.run(tokens.numpy()))
        assert outputs.keys() == expected.keys()
        for key, value in expected.items():
            assert distance(torch.from_numpy(outputs[key]), torch.from_numpy(value)) > 100, key


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_gives_its_network_s_own_outputs(
        saved: dict, tmp_path: Path, name: str) -> None:
    """Those that are made on the host too."""
    case, folder = saved[name]
    network = load(folder)
    path, = pictures(tmp_path, 1)
    wanted = case.processor(Image.open(path), return_tensors="pt")["pixel_values"]
    pixels = load_image(path, network.config, network.preprocessing)
    with torch.no_grad():
        expected = case.model(wanted)
        tokens, scores = network.model().double()(pixels.double())
    if case.whole:
        assert distance(scores, expected["logits"][0]) > 100
    else:
        for output, value in network.host.run(tokens.numpy()).items():
            assert distance(torch.from_numpy(value), expected[output]) > 100
        assert len({reason for *_, reason in network.nodes}) == 1


def siglip(folder: Path, kind: str) -> nn.Module:
    """Save SigLIP with its half for texts, or with a classifier."""
    t = transformers
    config = t.SiglipConfig(
        vision_config={key: value for key, value in SIZES.items() if key != "initializer_range"} | {
            "intermediate_size": 64}, text_config={
                "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32,
                "num_attention_heads": 2, "vocab_size": 50}, num_labels=4)
    model = randomized(getattr(t, kind)(config))
    model.save_pretrained(folder)
    t.SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["SiglipModel", "SiglipForImageClassification"])
def test_siglip_is_read_without_its_half_for_texts(tmp_path: Path, kind: str) -> None:
    model = siglip(tmp_path / "net", kind)
    network = load(tmp_path / "net")
    path, = pictures(tmp_path, 1)
    pixels = load_image(path, network.config, network.preprocessing)
    wanted = transformers.SiglipImageProcessorPil.from_pretrained(tmp_path / "net")(
        Image.open(path), return_tensors="pt")
    with torch.no_grad():
        expected = model.vision_model(**wanted) if kind == "SiglipModel" else model(**wanted)
        tokens, _ = network.model().double()(pixels.double())
    outputs = network.host.run(tokens.numpy())
    assert outputs.keys() == ({"last_hidden_state", "pooler_output"} if kind == "SiglipModel"
                              else {"logits"})
    for output, value in outputs.items():
        assert distance(torch.from_numpy(value), expected[output]) > 100
    words = ("the half for texts" if kind == "SiglipModel" else
             "attn_pool left out: a classifier of the average does not use it")
    assert [note for note in network.notes if words in note] == [
        note for note in network.notes if "left out" in note]


@pytest.mark.parametrize("activation", ["gelu-tanh", "gelu", "relu", "silu", "quick-gelu"])
def test_timm_s_pooling_by_attention_is_siglip_s(tmp_path: Path, activation: str) -> None:
    """Its names are others, and behind it is a classifier."""
    t, generator = transformers, torch.Generator().manual_seed(5)
    acts = {"gelu-tanh": "gelu_pytorch_tanh", "quick-gelu": "quick_gelu"}
    head = t.models.siglip.modeling_siglip.SiglipMultiheadAttentionPoolingHead(
        t.SiglipVisionConfig(hidden_size=32, intermediate_size=64, num_attention_heads=2,
                             hidden_act=acts.get(activation, activation)))
    randomized(head)
    parts = dict(head.named_parameters())
    names = {"layernorm": "norm", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
             "attention.out_proj": "proj"}
    stored = {f"attn_pool.{new}.{kind}": parts[f"{old}.{kind}"].detach()
              for old, new in names.items() for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        joined = parts[f"attention.in_proj_{kind}"].detach()
        stored |= {f"attn_pool.q.{kind}": joined[:32].clone(),
                   f"attn_pool.kv.{kind}": joined[32:].clone()}
    stored |= {"attn_pool.latent": parts["probe"].detach(),
               "head.weight": torch.randn(5, 32, generator=generator)}
    config = ModelConfig(name="plain", image_channels=3, image_height=16, image_width=16,
                         patch_size=4, embed_dim=32, num_layers=2, num_heads=2, hidden_dim=64,
                         prefix_tokens=0)
    torch.save({key: value for key, value in seeded(config, 1).items() if key != "cls_token"}
               | stored, tmp_path / "plain.pth")
    network = load(tmp_path / "plain.pth", Options(
        heads=2, activation=activation, preprocessing=NAMED["half"]))
    tokens = torch.randn(16, 32, generator=generator)
    with torch.no_grad():
        expected = head(tokens[None]) @ stored["head.weight"].T
    output, = network.host.run(tokens.numpy()).values()
    assert distance(torch.from_numpy(output), expected) > 100
    assert 0.7 < network.share < 1


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_the_average_of_patches_is_a_head_of_the_host(tmp_path: Path, kind: str) -> None:
    """As timm has it: no class token, a normalization of the average, or one of the tokens."""
    config = ModelConfig(name="plain", image_channels=3, image_height=16, image_width=16,
                         patch_size=4, embed_dim=32, num_layers=2, num_heads=2, hidden_dim=64,
                         prefix_tokens=0, norm=kind)
    generator = torch.Generator().manual_seed(1)
    weights = seeded(config, 1)
    name = "fc_norm" if kind == "layer" else "norm"
    extra = {f"{name}.weight": torch.rand(32, generator=generator),
             "head.weight": torch.randn(5, 32, generator=generator)}
    extra |= {"fc_norm.bias": torch.rand(32, generator=generator)} if kind == "layer" else {}
    stored = {key: tensor for key, tensor in weights.items() if key != "cls_token"} | extra
    torch.save(stored, tmp_path / "plain.pth")
    network = load(tmp_path / "plain.pth", Options(heads=2, norm=kind,
                                                   preprocessing=NAMED["edge-moe"]))
    assert network.config == config
    tokens = torch.randn(16, 32, generator=generator)
    if kind == "layer":
        h = functional.layer_norm(tokens.mean(0), (32,), extra["fc_norm.weight"],
                                  extra["fc_norm.bias"], 1e-6)
    else:
        h = functional.rms_norm(tokens, (32,), extra["norm.weight"], 1e-6).mean(0)
    output, = network.host.run(tokens.numpy()).values()
    assert distance(torch.from_numpy(output[0]), h @ extra["head.weight"].T) > 100


def test_a_value_that_would_take_all_memory_is_refused(tmp_path: Path) -> None:
    helper = onnx.helper
    shape = onnx.numpy_helper.from_array(np.array([1 << 40], np.int64), "shape")
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["shape"], ["huge"])], "bomb",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("huge", onnx.TensorProto.FLOAT, ["n"])], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8),
              tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"net\.onnx: huge has the shape \(1099511627776,\)"):
        load(tmp_path / "net.onnx", Options(preprocessing=NAMED["half"]))


class Vit(nn.Module):
    """A plain vision transformer of two blocks, and by ``kind`` one that is changed."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.kind = kind
        self.embed = nn.Conv2d(3, 32, 4, 2 if kind == "overlap" else 4,
                               1 if kind == "overlap" else 0)
        self.position = nn.Parameter(torch.randn(1, 64 if kind == "overlap" else 16, 32))
        self.layers = nn.ModuleList(nn.ModuleDict({
            "norm1": nn.LayerNorm(32), "norm2": nn.LayerNorm(32), "qkv": nn.Linear(32, 96),
            "proj": nn.Linear(32, 32), "fc1": nn.Linear(32, 64), "fc2": nn.Linear(64, 32),
            "gate": nn.Linear(32, 64), "q_norm": nn.LayerNorm(16), "k_norm": nn.LayerNorm(16),
        }) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 5)
        self.register_buffer("bias", torch.randn(2, 16, 16))
        self.register_buffer("angles", torch.randn(16, 16))

    def forward(self, image: Tensor) -> Tensor:
        if self.kind == "normalized":
            image = (image - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / 0.2
        x = self.embed(image).flatten(2).transpose(1, 2) + self.position
        if self.kind == "pre-norm":
            x = self.norm(x)
        for number, layer in enumerate(self.layers):
            x = x + self.attention(layer, x if self.kind == "post-norm" else layer["norm1"](x))
            x = x + self.mlp(layer, layer["norm2"](x), number)
        if self.kind == "skip":
            return self.head(self.norm(x).mean(1)) + image.mean()
        return self.head(self.norm(x).mean(1))

    def attention(self, layer: nn.ModuleDict, h: Tensor) -> Tensor:
        if self.kind == "windows":
            h = h.reshape(2, 8, 32)
        joined = layer["qkv"](h)
        if self.kind == "interleaved":
            q, k, v = joined.reshape(*h.shape[:-1], 2, 3, 16).permute(3, 0, 2, 1, 4)
        else:
            q, k, v = joined.reshape(*h.shape[:-1], 3, 2, 16).permute(2, 0, 3, 1, 4)
        if self.kind == "shared":  # grouped queries: all heads have the first one's keys and values
            k, v = k[:, :1].expand(-1, 2, -1, -1), v[:, :1].expand(-1, 2, -1, -1)
        if self.kind == "mixed-channels":
            k = k.reshape(1, 2, 16, 16).transpose(2, 3)
        if self.kind == "qk-norm":
            q, k = layer["q_norm"](q), layer["k_norm"](k)
        if self.kind == "rope":
            q, k = (part * self.angles.cos() + torch.cat(
                [-part[..., 8:], part[..., :8]], -1) * self.angles.sin() for part in (q, k))
        scores = q @ k.transpose(-1, -2) * (0.5 if self.kind == "scale" else 0.25)
        if self.kind == "bias":
            scores = scores + self.bias
        h = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return layer["proj"](h.reshape(1, 16, 32) if self.kind == "windows" else h)

    def mlp(self, layer: nn.ModuleDict, h: Tensor, number: int) -> Tensor:
        if self.kind == "gated":
            return layer["fc2"](functional.silu(layer["gate"](h)) * layer["fc1"](h))
        function = {"relu": functional.relu, "silu": functional.silu, "tanh": torch.tanh,
                    "quick-gelu": lambda x: x * torch.sigmoid(1.702 * x),
                    "mixed": (functional.relu, functional.silu)[number]}.get(
                        self.kind, functional.gelu)
        return layer["fc2"](function(layer["fc1"](h)))


def imported(kind: str, folder: Path, **options: object) -> tuple[nn.Module, FloatNetwork]:
    model = randomized(Vit(kind))
    export(model, folder / "net.onnx")
    return model, load(folder / "net.onnx",
                       Options(preprocessing=NAMED["edge-moe"], **options))


@pytest.mark.parametrize("kind", ["", "relu", "silu", "quick-gelu", "scale", "normalized",
                                  "interleaved", "shared"])
def test_a_variant_is_the_same_network(tmp_path: Path, kind: str) -> None:
    """Joined projections, no class token, pooling on the host, activations, another scale."""
    model, network = imported(kind, tmp_path)
    pixels = torch.randint(0, 256, (3, 16, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        tokens, _ = network.model().double()(pixels.double())
        expected = model.double()(pixels[None].double() / 256)
    assert network.config.prefix_tokens == 0
    assert network.config.activation == (kind if kind in {"relu", "silu", "quick-gelu"}
                                         else "gelu")
    output, = network.host.run(tokens.numpy()).values()
    assert distance(torch.from_numpy(output), expected) > 100
    assert 0.9 < network.share < 1
    assert {reason for *_, reason in network.nodes} == {
        "it follows the tokens, where the accelerator ends"}


@pytest.mark.parametrize(("kind", "words"), [
    ("bias", "a relative position bias, or a mask"), ("rope", "rotary positions (RoPE)"),
    ("qk-norm", "(QK-norm)"), ("gated", "a gated MLP (SwiGLU)"), ("windows", "windows of tokens"),
    ("post-norm", "on tokens that are not normalized"),
    ("overlap", "patches that overlap or are padded"), ("pre-norm", "a normalization before"),
    ("tanh", "is none of gelu, gelu-tanh"), ("mixed", "its activations differ: relu, silu"),
    ("skip", "an output needs image beside"), ("mixed-channels", "mixes tokens or channels"),
])
def test_what_is_not_computed_is_refused_by_name(tmp_path: Path, kind: str, words: str) -> None:
    """In one line that says what to do."""
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        imported(kind, tmp_path)
    assert str(tmp_path / "net.onnx") in str(error.value)
    assert "\n" not in str(error.value)
    assert re.search("take a network (with|whose)|train the network with one|export the network "
                     "without", str(error.value))


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_each_opset_is_read(tmp_path: Path, opset: int) -> None:
    export(randomized(Vit()), tmp_path / "net.onnx", opset=opset)
    assert load(tmp_path / "net.onnx", Options(preprocessing=NAMED["half"])).config.num_layers == 2


def test_what_comes_after_a_strange_block_is_on_the_host(tmp_path: Path) -> None:
    """The second block's activation is none of ours: so one block is on the accelerator."""
    model = randomized(Vit())
    second = model.layers[1]
    second["fc1"].register_forward_hook(lambda _, __, out: torch.tanh(out))
    export(model, tmp_path / "net.onnx")
    network = load(tmp_path / "net.onnx", Options(preprocessing=NAMED["edge-moe"]))
    assert network.config.num_layers == 1
    assert 0.4 < network.share < 0.6
    assert all("the activation of an MLP is none of" in reason for *_, reason in network.nodes)
    with torch.no_grad():
        pixels = torch.full((3, 16, 16), 77.0).double()
        tokens, _ = network.model().double()(pixels)
        expected = model.double()(pixels[None] / 256)
    output, = network.host.run(tokens.numpy()).values()
    assert distance(torch.from_numpy(output), expected) > 100


def test_the_host_s_part_lies_beside_the_network(tmp_path: Path) -> None:
    _, network = imported("", tmp_path)
    network.save(tmp_path / "kept.safetensors")
    again = load(tmp_path / "kept.safetensors")
    assert again.host == network.host
    onnx.checker.check_model(onnx.load(tmp_path / "kept.host.onnx"))
    (tmp_path / "kept.host.onnx").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"kept\.host\.onnx is the host's part of another"):
        load(tmp_path / "kept.safetensors")
    (tmp_path / "kept.host.onnx").unlink()
    with pytest.raises(ValueError, match=r"kept\.host\.onnx, the part on the host, is missing"):
        load(tmp_path / "kept.safetensors")


def test_every_engine_gives_the_user_s_own_outputs(tmp_path: Path) -> None:
    """By the names of the file, from a picture of any size."""
    model = randomized(Vit())
    export(model, tmp_path / "net.onnx")
    (tmp_path / "pictures").mkdir()
    path, *_ = pictures(tmp_path / "pictures")
    found = import_network(tmp_path / "net.onnx", tmp_path / "q.safetensors",
                           calibrate=tmp_path / "pictures", preprocessing="half", crop_share=0.8)
    pixels = found.preprocessing.pixels(Image.open(path), 3)
    with torch.no_grad():
        expected = model((pixels[None] / 255 - 0.5) / 0.5)
    name = onnx.load(tmp_path / "net.onnx").graph.output[0].name
    for network, engine, least in ((found.network, "float", 100), (found.network, "integer", 20),
                                   (tmp_path / "q.safetensors", "integer", 20)):
        result = infer(network, path, engine=engine)
        result.save_outputs(tmp_path / "outputs.npz")
        with np.load(tmp_path / "outputs.npz") as kept:
            assert kept.files == [name]
            assert distance(torch.from_numpy(kept[name]), expected) > least
        assert result.to_json()["outputs"][name]["shape"] == [1, 5]
    assert {row["operator"] for row in found.to_json()["host"]} >= {"ReduceMean", "Gemm"}


@pytest.mark.parametrize("size", [0, 9, 4000, -7])
def test_a_damaged_file_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "net.onnx"
    export(Vit(), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"net\.onnx (is not a complete ONNX file|is of opset)"):
        load(path, Options(preprocessing=NAMED["half"]))


def test_an_open_size_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export(randomized(Vit()), path)
    model = onnx.load(path)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    onnx.save(model, path)
    with pytest.raises(ValueError, match="leaves the height of its images open; say --image"):
        load(path, Options(preprocessing=NAMED["half"]))
    network = load(path, Options(preprocessing=NAMED["half"], image=(16, 16)))
    assert network.config.num_tokens == 16
