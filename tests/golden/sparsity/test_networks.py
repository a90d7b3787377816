"""Networks of other people: every multiplication is recorded, or named, and then simulated."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops import map as control_flow_map
from torch._higher_order_ops import while_loop
from torch.nn import functional
from torch.nn.attention import SDPBackend, flex_attention, sdpa_kernel
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from deltamoe.boards import PRESETS
from deltamoe.experiments.points.evaluate import sparse
from deltamoe.experiments.points.foreign import Foreign
from deltamoe.experiments.points.values import PolicySpec
from deltamoe.golden.sparsity import hooks
from deltamoe.golden.sparsity.names import recognize
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.registry import MECHANISMS
from deltamoe.golden.sparsity.trace_file import load, save
from deltamoe.sim.memory import MemoryModel
from tests.golden.sparsity.support import by_name, play, spoil


class PatchVit(nn.Module):
    """Patches by a convolution, attention in one operator with a fused layer before it, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.ModuleList([nn.ModuleDict({
            "norm": nn.LayerNorm(16), "qkv": nn.Linear(16, 48), "proj": nn.Linear(16, 16),
            "up": nn.Linear(16, 32), "down": nn.Linear(32, 16)}) for _ in range(2)])
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).mT
        for block in self.blocks:
            q, k, v = block["qkv"](block["norm"](x)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
            context = functional.scaled_dot_product_attention(q, k, v)
            x = x + block["proj"](context.transpose(1, 2).flatten(2))
            x = x + block["down"](functional.gelu(block["up"](x)))
        return self.head(x.mean(1))


class EinsumExperts(nn.Module):
    """All experts of all tokens by einsum, weighted by a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 4)
        self.w_in = nn.Parameter(torch.randn(4, 8, 12))
        self.w_out = nn.Parameter(torch.randn(4, 12, 8))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("td,edf->tef", x, self.w_in).relu()
        outputs = torch.einsum("tef,efd->ted", hidden, self.w_out)
        return x + (self.gate(x).softmax(-1)[..., None] * outputs).sum(1)


class BatchedExperts(EinsumExperts):
    """A token's own experts, gathered for it, and baddbmm for all."""

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.gate(x).topk(2).indices
        hidden = torch.einsum("td,tkdf->tkf", x, self.w_in[chosen]).relu()
        outputs = torch.einsum("tkf,tkfd->tkd", hidden, self.w_out[chosen]).sum(1)
        return torch.baddbmm(torch.zeros(4, 1, 12), outputs.expand(4, -1, -1), self.w_in)


class Grouped(nn.Module):
    """Four heads of queries over two of keys, which a cache keeps; in one operator or in four."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.q_proj, self.o_proj = nn.Linear(16, 16), nn.Linear(16, 16)
        self.k_proj, self.v_proj = nn.Linear(16, 8), nn.Linear(16, 8)
        self.fused, self.cache = fused, None

    def forward(self, x: Tensor, fresh: bool = False) -> Tensor:
        q, k, v = (each(x).unflatten(-1, (-1, 4)).transpose(1, 2)
                   for each in (self.q_proj, self.k_proj, self.v_proj))
        if not fresh:
            k, v = (torch.cat(pair, 2) for pair in zip(self.cache, (k, v), strict=True))
        self.cache, causal = (k, v), x.shape[1] > 1
        if self.fused:
            context = functional.scaled_dot_product_attention(q, k, v, is_causal=causal,
                                                              enable_gqa=True)
        else:
            k, v = (each.repeat_interleave(2, 1) for each in (k, v))
            mask = torch.ones(x.shape[1], k.shape[2]).tril(k.shape[2] - x.shape[1]) == 0
            weights = (q @ k.mT / 2).masked_fill(mask, -torch.inf).softmax(-1)
            context = weights @ v
        return self.o_proj(context.transpose(1, 2).flatten(2))


class Bert(nn.Module):
    """The names of a layer of Hugging Face's BERT and ViT, with attention in several operators."""

    def __init__(self) -> None:
        super().__init__()

        def dense(*size: int) -> nn.ModuleDict:
            return nn.ModuleDict({"dense": nn.Linear(*size)})

        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([nn.ModuleDict({
            "attention": nn.ModuleDict({"self": nn.ModuleDict({
                name: nn.Linear(8, 8) for name in ("query", "key", "value")}),
                "output": dense(8, 8)}),
            "intermediate": dense(8, 16), "output": dense(16, 8)}) for _ in range(2)])})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.encoder["layer"]:
            q, k, v = (block["attention"]["self"][name](x).unflatten(-1, (2, 4)).transpose(1, 2)
                       for name in ("query", "key", "value"))
            context = ((q @ k.mT) * 0.5).softmax(-1) @ v
            x = x + block["attention"]["output"]["dense"](context.transpose(1, 2).flatten(2))
            x = x + block["output"]["dense"](functional.gelu(block["intermediate"]["dense"](x)))
        return x


class KeysFirst(nn.Module):
    """Scores with a row for each key, as many as queries, and weights of low rank beside others."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(8, 8) for _ in range(3))
        self.down, self.up = nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.randn(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q_proj(x), self.k_proj(x)
        v = functional.linear(x, self.v_proj.weight + self.up @ self.down)
        return (v.mT @ (k @ q.mT).masked_fill(torch.eye(5) == 1, -torch.inf).softmax(1)).mT


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def steps() -> list[tuple]:
    """Five tokens at once, then three one by one."""
    return [(drawn(1, 5, 16), True), *((drawn(1, 1, 16, seed=n),) for n in range(1, 4))]


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)


NETWORKS = {
    "encoder": (encoder, [drawn(2, 5, 16)]),
    "transformer": (lambda: nn.Transformer(16, 2, 1, 1, 32, batch_first=True),
                    [(drawn(1, 5, 16), drawn(1, 7, 16))]),
    "vit": (PatchVit, [drawn(2, 3, 8, 8)]),
    "einsum": (EinsumExperts, [drawn(5, 8)]),
    "batched": (BatchedExperts, [drawn(5, 8)]),
    "grouped": (lambda: Grouped(fused=True), steps()),
    "in several operators": (lambda: Grouped(fused=False), steps()),
    "bert": (Bert, [drawn(2, 5, 8), drawn(2, 5, 8, seed=1)]),
    "keys first": (KeysFirst, [drawn(1, 5, 8)]),
    "sequential": (lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)),
                   [drawn(5, 8)]),
}


BY_ELEMENT = {"einsum": {"EinsumExperts (sum of products)": 5 * 4 * 8}}
"""Products that a network spells by element, which are counted and not recorded: 5 tokens' sums of
4 experts' 8 results."""


@contextmanager
def in_products() -> Iterator[None]:
    """Have attention as two products, which are the only kind that the counter knows on CPUs."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def counted(model: nn.Module, frames: list) -> int:
    """Return what PyTorch's own counter says."""
    with in_products(), FlopCounterMode(display=False) as counter:
        for frame in frames:
            model(*(frame if isinstance(frame, tuple) else (frame,)))
    return counter.get_total_flops() // 2


def names(record: Record) -> list[str]:
    return list(map(str, record.products))


def traced(name: str) -> tuple[nn.Module, Record]:
    torch.manual_seed(0)
    make, frames = NETWORKS[name]
    model = make().eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the trace sees 100 % of the MACs; role")
        if name in BY_ELEMENT:
            warnings.filterwarnings("ignore", "the trace sees 96 % of the MACs; not: ")
        return model, hooks.trace(model, frames)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_multiplication_is_recorded(name: str) -> None:
    """As many as PyTorch counts, and as many as dense inference of the record has."""
    model, record = traced(name)
    assert record.unseen == BY_ELEMENT.get(name, {})
    recorded = record.macs - sum(record.unseen.values())
    assert recorded == counted(model, NETWORKS[name][1])
    assert sum(frame.macs for frame in play("dense", record)) == recorded
    assert record.seen.startswith(f"sees {'96' if record.unseen else '100'} % of the MACs")


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_recorded_is_simulated_under_every_policy(name: str, tmp_path: Path) -> None:
    """Or the policy says what it needs."""
    path = tmp_path / "network.safetensors"
    save(traced(name)[1], path)
    network, ran, refused = Foreign(path), 0, []
    for policy in (PolicySpec(name=name) for name in MECHANISMS):
        try:
            left = network.left(policy)
        except ValueError as error:
            refused.append(str(error))
            continue
        results = network.run(policy, PRESETS["nano"], MemoryModel(100, 1), sparse(left))
        ran += 1
        if policy.name == "dense":
            word = PRESETS["nano"].word
            assert [result.counters["macs"] for result in results] == [
                sum(work.rows * work.depth * -(-work.columns // word) * word
                    for work in frame.works.values()) for frame in left]
    assert ran > 25
    assert all(reason.startswith("policy ") for reason in refused)


def test_queries_and_keys_of_a_cache_are_those_of_the_network() -> None:
    """Keys are not repeated for the heads that share them; those kept are read, once for each."""
    for name in ("grouped", "in several operators"):
        model, record = traced(name)
        assert names(record) == ["q_proj", "k_proj", "v_proj", "attention.scores",
                                 "attention.values", "o_proj"]
        frames = play("dense", record)
        for number, (moment, frame) in enumerate(zip(record.frames, frames, strict=True)):
            tokens, queries = 5 + number, 1 if number else 5
            assert moment.keys["attention"].shape == (2, tokens, 4)
            assert by_name(moment.operands)["attention.scores"].shape == (4, queries, 4)
            assert by_name(moment.operands)["attention.values"].shape == (4, queries, tokens)
            for part_ in ("scores", "values"):
                work = by_name(frame.works)[f"attention.{part_}"]
                assert work.macs == 4 * queries * tokens * 4
                assert work.weight_bytes == 2 * (tokens - queries) * 4
        keys = model.k_proj(torch.cat([frame[0] for frame in steps()], 1))[0].detach()
        last = record.frames[-1].keys["attention"]
        assert torch.allclose(last.transpose(0, 1).flatten(1).double(),
                              keys.double() * 127 / float(keys.abs().max()), atol=0.51)
        assert (by_name(record.frames[0].operands)["attention.values"].triu(1) == 0).all(), "causal"


def test_queries_are_told_from_keys_and_weights_from_operands() -> None:
    model, record = traced("keys first")
    assert names(record) == ["q_proj", "k_proj", "down", "v_proj", "attention.scores",
                             "attention.values"]
    assert torch.equal(by_name(record.weights)["v_proj"],
                       (model.v_proj.weight + model.up @ model.down).detach())
    x = NETWORKS["keys first"][1][0]
    for real, codes in ((model.q_proj(x), by_name(record.frames[0].operands)["attention.scores"]),
                        (model.k_proj(x), record.frames[0].keys["attention"])):
        real = real.detach().double()
        assert torch.allclose(codes.double(), real * 127 / float(real.abs().max()), atol=0.51)


@pytest.mark.parametrize("mask", [torch.ones(3, 5).tril(1) == 1,
                                  torch.randn(3, 5).masked_fill(torch.ones(3, 5).triu(3) == 1,
                                                                -torch.inf)])
def test_masks_are_in_the_probabilities(mask: Tensor) -> None:
    class Net(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(q, k, v, mask)

    q, k, v = drawn(1, 2, 3, 4), drawn(1, 2, 5, 4, seed=1), drawn(1, 2, 5, 6, seed=2)
    record = hooks.trace(Net(), [(q, k, v)])
    bias = torch.zeros(3, 5).masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else mask
    e = (q @ k.mT / 2 + bias).softmax(-1)[0].double()
    codes = by_name(record.frames[0].operands)["attention.values"]
    assert torch.allclose(codes.double(), e * 127 / float(e.max()), atol=0.51)
    (frame,) = play("dense", record)
    assert by_name(frame.works)["attention.values"].columns == 6


def test_experts_of_one_parameter_are_products_of_their_own() -> None:
    model, record = traced("einsum")
    x = NETWORKS["einsum"][1][0]
    for number in range(4):
        weights = by_name(record.weights)
        assert torch.equal(weights[f"experts.{number}.w_in.fc1"], model.w_in[number].mT)
        assert torch.equal(weights[f"experts.{number}.w_out.fc2"], model.w_out[number].mT)
        seen = by_name(record.frames[0].operands)[f"experts.{number}.w_in.fc1"]
        assert torch.equal(seen, (x.double() * 127 / float(x.abs().max())).round().long())
        hidden = (x @ model.w_in[number].detach()).relu().double()
        codes = by_name(record.frames[0].operands)[f"experts.{number}.w_out.fc2"].double()
        assert torch.allclose(codes, hidden * 127 / float(hidden.max()), atol=0.51)
    with pytest.warns(UserWarning, match=r"not: EinsumExperts \(sum of products\) 4 %$"):
        routed = hooks.trace(model, x, {"gate": 1})
    (frame,) = play("dense", routed)
    assert frame.routed[-1].sum() == 5
    assert frame.macs == 5 * (8 * 4 + 2 * 8 * 12)


def test_roles_come_from_names_and_from_what_is_done_with_results() -> None:
    bert = traced("bert")[1].products
    assert [product.part for product in bert] == 2 * [
        "q", "k", "v", "scores", "values", "proj", "fc1", "fc2"]
    assert [product.layer for product in bert] == [0] * 8 + [1] * 8
    assert [product.part for product in traced("vit")[1].products] == [
        "patch", *2 * ["qkv", "scores", "values", "proj", "fc1", "fc2"], "head"]
    assert names(traced("sequential")[1]) == ["0.fc1", "2.fc2"]
    relu = play("relu", traced("bert")[1])[0], play("dense", traced("bert")[1])[0]
    assert relu[0].macs < relu[1].macs


@pytest.mark.parametrize(("name", "role", "number"), [
    ("encoder.layer.3.attention.output.dense", "proj", 3),
    ("encoder.layers.encoder_layer_2.self_attention.in_proj", "qkv", 2),
    ("layers.1.blocks.2.attn.qkv", "qkv", 1002), ("features.1.0.attn.proj", "proj", 1000),
    ("model.layers.4.mlp.gate_proj", "fc1", 4), ("layers.0.attention.wo", "proj", 0),
    ("encoder.block.1.layer.1.DenseReluDense.wo", "fc2", 1001),
    ("transformer.layer.1.ffn.lin2", "fc2", 1), ("h.5.mlp.c_proj", "fc2", 5),
    ("decoder.layers.0.linear1", "fc1", 10**6), ("blocks.2.gate.1", "gate", 2),
])
def test_names_of_common_families(name: str, role: str, number: int) -> None:
    product = recognize(name)
    assert (product.part, product.layer, product.expert) == (role, number, None)
    assert str(product) == name
    for expert in ("mlp.experts.expert_3.wi", "experts.3.w1"):
        assert recognize(expert).expert == 3


def test_what_is_not_seen_is_named_with_its_share(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.head(self.stem(x).flatten(2).mT)
            return x.mT @ x

    # Of 16 pixels, 4 x 27 in the stem, 4 x 4 in the head, and 4 x 4 of each in the last product.
    words = r"^the trace sees 11 % of the MACs; not: stem \(convolution\) 77 %, Net \(bmm\) 11 %"
    with pytest.warns(UserWarning, match=words):
        record = hooks.trace(Net(), drawn(1, 3, 4, 4))
    assert record.macs == 16 * (4 * 27 + 16 + 16)
    assert record.unseen == {"stem (convolution)": 16 * 108, "Net (bmm)": 256}
    path = tmp_path / "net.safetensors"
    save(record, path)
    assert load(path).seen == record.seen
    assert Foreign(path).known == f"trace {path}; {record.seen}"


@pytest.mark.parametrize(("changes", "words"), [
    ({"widths": {"attention.values": 0}}, r"widths holds something that is not in 1\.\.65536"),
    ({"widths": {"attention.values": 1 << 17}}, r"widths holds something that is not in"),
    ({"unseen": {"conv": -1}}, "unseen holds something that is no integer from 0 on"),
    ({"unseen": {"conv": 1 << 40}}, "or more than macs"),
    ({"unseen": {"\x1b[2J": 1}}, "a name holds a character that cannot be printed"),
    ({"drop": "0.keys.attention"}, r"tensor 0\.keys\.attention is missing"),
    ({"drop": "0.operand.attention.values"}, r"tensor 0\.operand\.attention\.values is missing"),
    ({"tensors": {"0.keys.attention": torch.ones(3, 5, 4)}},
     r"keys\.attention has shape \(3, 5, 4\), which does not fit queries \(4, 5, 4\)"),
    ({"tensors": {"0.keys.attention": torch.ones(2, 6, 4)}}, "which does not fit queries"),
    ({"tensors": {"0.operand.attention.values": torch.ones(4, 6, 5)}}, "are not .H, T, Dh. and"),
])
def test_a_bad_attention_is_refused(changes: dict, words: str, tmp_path: Path) -> None:
    save(traced("grouped")[1], tmp_path / "whole.safetensors")
    spoil(tmp_path / "whole.safetensors", tmp_path / "bad.safetensors", **changes)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "bad.safetensors")


def test_a_network_is_left_as_it_was() -> None:
    model = encoder().train()
    model.layers[0].eval()
    fast = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    hooks.trace(model, drawn(1, 5, 16))
    assert model.training
    assert not model.layers[0].training
    assert model.layers[1].training
    assert fast == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


class Calls(nn.Module):
    """A function of the module and its input before a linear layer."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], **parts: object) -> None:
        super().__init__()
        self.function = function
        for name, value in parts.items():
            setattr(self, name, value)
        self.last = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self, x))


@torch.library.custom_op("deltamoe_tests::linear", mutates_args=())
def foreign_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return a product in an operator that PyTorch does not look into."""
    return x @ weight.mT


def elsewhere(model: nn.Module, x: Tensor) -> Tensor:
    """Run a layer in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(model.layer, x).result()


UNCOUNTED = {
    "custom": ("_linear|linear", lambda: Calls(lambda model, x: foreign_linear(
        x, model.layer.weight), layer=nn.Linear(8, 8))),
    "thread": (r"layer \(in another thread\)", lambda: Calls(elsewhere, layer=nn.Linear(8, 8))),
    "bilinear": ("_trilinear", lambda: Calls(
        lambda model, x: model.layer(x, x), layer=nn.Bilinear(8, 8, 8))),
    "dot": (r"\(dot\)", lambda: Calls(lambda model, x: x + torch.dot(x[0], model.w),
                                      w=nn.Parameter(drawn(8)))),
    "addbmm": ("addbmm", lambda: Calls(lambda model, x: torch.addbmm(x, x[None], model.w),
                                       w=nn.Parameter(drawn(1, 8, 8)))),
    "sparse": ("_sparse_addmm", lambda: Calls(lambda model, x: torch.sparse.mm(model.w, x.mT).mT,
                                              w=nn.Parameter(drawn(8, 8).to_sparse()))),
    "compressed rows": (r"\(mm\)", lambda: Calls(
        lambda model, x: x + (drawn(5, 5).to_sparse_csr() @ x))),
    "sparse rows": (r"\(mm\)", lambda: Calls(lambda model, x: x.relu().to_sparse() @ model.w,
                                        w=nn.Parameter(drawn(8, 8)))),
    "determinant": ("_linalg_det", lambda: Calls(lambda model, x: x * torch.det(x[:, :5]))),
    "weighted bag": ("_embedding_bag", lambda: Calls(lambda model, x: functional.embedding_bag(
        torch.arange(8).expand(5, 8), model.w, per_sample_weights=x, mode="sum"),
        w=nn.Parameter(drawn(8, 8)))),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("name", UNCOUNTED)
def test_what_cannot_be_counted_is_named(name: str, tmp_path: Path) -> None:
    words, make = UNCOUNTED[name]
    with pytest.warns(UserWarning, match=f"neither seen nor counted: .*({words})"):
        record = hooks.trace(make(), drawn(5, 8))
    assert list(record.unseen.values()) == [0]
    assert record.macs == 5 * 8 * 8
    save(record, tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors").seen == record.seen


WRITTEN = {
    "out": lambda model, x: torch.mm(x, model.w, out=torch.empty(5, 8)),
    "in place": lambda model, x: torch.zeros(5, 8).addmm_(x, model.w),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_products_into_other_tensors_are_counted(name: str) -> None:
    with pytest.warns(UserWarning, match=r"sees 50 % of the MACs; not: Calls \(\w+\) 50 %"):
        record = hooks.trace(Calls(WRITTEN[name], w=nn.Parameter(drawn(8, 8))), drawn(5, 8))
    assert record.macs == 2 * 5 * 8 * 8


def outer(model: nn.Module, x: Tensor) -> Tensor:
    """Add up all tokens' outer products, as attention does that is linear."""
    return x + (model.layer(x)[:, :, None] * model.layer(x)[:, None]).cumsum(0).mean(1)


BY_ELEMENT_ALONE = {
    "layer": ("sum of products", 5 * 8 * 8, lambda model, x: (
        x[:, None] * model.layer.weight).sum(-1)),
    "mean": ("mean of products", 5 * 8 * 8, lambda model, x: (
        x[:, None] * model.layer.weight).mean(-1)),
    "moved": ("sum of products", 5 * 8 * 8, lambda model, x: (
        x[None] * model.layer.weight[:, None]).permute(1, 0, 2).reshape(5, 8, 8).sum(2)),
    "row by row": ("sum of products", 5 * 8, lambda model, x: (
        x * model.layer.weight[:5]).sum(-1, keepdim=True) + x),
    "in place": ("sum of products", 5 * 8 * 8, lambda model, x: x.repeat(8, 1, 1).mul_(
        model.layer.weight[:, None]).sum(-1).mT),
    "outer": ("mul", 5 * 8 * 8, outer),
}


@pytest.mark.filterwarnings("ignore:the trace")
@pytest.mark.parametrize("name", BY_ELEMENT_ALONE)
def test_products_by_element_are_counted(name: str) -> None:
    what, macs, function = BY_ELEMENT_ALONE[name]
    record = hooks.trace(Calls(function, layer=nn.Linear(8, 8)), drawn(5, 8))
    assert record.unseen == {f"Calls ({what})": macs}
    assert record.macs == macs + 5 * 8 * 8 * (3 if name == "outer" else 1)


@pytest.mark.parametrize("function", [
    lambda model, x: x * model.layer.weight[0] + x, lambda model, x: (x * 2).sum(-1, True) + x,
    lambda model, x: x * x.pow(2).mean(-1, keepdim=True).rsqrt(),
    lambda model, x: x * (x * x).mean(-1, keepdim=True).rsqrt(),
    lambda model, x: x * (x * x).sum(-1, keepdim=True).rsqrt()])
def test_scales_and_norms_are_no_products(function: Callable) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the trace sees 100 % of the MACs; role")
        record = hooks.trace(Calls(function, layer=nn.Linear(8, 8)), drawn(5, 8))
    assert (record.macs, record.unseen) == (5 * 8 * 8, {})


def flexible(model: nn.Module, x: Tensor) -> Tensor:
    """Attention of two heads with a bias by distance."""
    q, k, v = model.qkv(x[None]).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    context = flex_attention.flex_attention(
        q, k, v, score_mod=lambda score, batch, head, query, key: score + (query - key))
    return context.transpose(1, 2).flatten(2)[0, :, :8]


FUNCTIONS = {
    "cond": (lambda model, x: torch.cond(x.sum() > 0, model.a, model.b, (x,)), 64, 0),
    "while": (lambda model, x: while_loop(
        lambda step, x: step < 3, lambda step, x: (step + 1, model.a(x)), (torch.tensor(0), x))[1],
        3 * 64, 0),
    "map": (lambda model, x: control_flow_map(model.a, x), 64, 0),
    "flexible": (flexible, 8 * 96, 2 * 2 * 5 * 16),
}


@pytest.mark.filterwarnings("ignore:the trace", "ignore:Using .torch.compile")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_operators_that_call_functions_are_looked_into(name: str) -> None:
    """Or counted as a whole, as attention with a score function of its own."""
    function, seen, unseen = FUNCTIONS[name]
    before = flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG
    record = hooks.trace(Calls(function, a=nn.Linear(8, 8), b=nn.Linear(8, 8),
                                qkv=nn.Linear(8, 96)), drawn(5, 8))
    assert record.macs == 5 * (seen + unseen + 64)
    assert record.unseen == ({"Calls (flex_attention)": 5 * unseen} if unseen else {})
    assert before == flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG


def test_an_exported_network_is_seen() -> None:
    layers = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)).eval()
    record = hooks.trace(torch.export.export(layers, (drawn(5, 8),)).module(), drawn(5, 8))
    assert {str(product): tuple(weight.shape) for product, weight in record.weights.items()} == {
        "0.fc1": (12, 8), "2.fc2": (8, 12)}
    assert (record.macs, record.unseen) == (2 * 5 * 8 * 12, {})


def test_weights_in_eight_bits_are_those_of_the_network() -> None:
    model = Calls(lambda model, x: functional.linear(x, model.codes.float() * model.scale[:, None]))
    model.register_buffer("codes", torch.arange(-32, 32, dtype=torch.int8).view(8, 8))
    model.register_buffer("scale", torch.arange(1.0, 9.0))
    with pytest.warns(UserWarning, match="sees 100 % of the MACs; role in a block not recognized"):
        record = hooks.trace(model, drawn(5, 8))
    assert torch.equal(by_name(record.weights)["codes"],
                       torch.arange(-32.0, 32).view(8, 8) * torch.arange(1.0, 9)[:, None])


@pytest.mark.filterwarnings("ignore:the trace", "ignore:.torch.jit.script. is deprecated")
def test_tensors_without_memory_of_their_own_are_no_parameters() -> None:
    """The derivative of the weights is one of these, and zero."""
    def derived(model: nn.Module, x: Tensor) -> Tensor:
        return torch.func.jvp(model.layer, (x,), (x,))[1]

    record = hooks.trace(Calls(derived, layer=nn.Linear(8, 8)), drawn(5, 8))
    assert (record.macs, record.unseen) == (4 * 5 * 8 * 8, {"layer (mm)": 5 * 8 * 8})


def test_a_complex_product_is_four_and_not_recorded() -> None:
    model = Calls(lambda model, x: (torch.complex(x, x) @ model.w).imag,
                  w=nn.Parameter(torch.complex(drawn(8, 8), drawn(8, 8))))
    with pytest.warns(UserWarning, match=r"sees 20 % of the MACs; not: Calls \(mm\) 80 %"):
        record = hooks.trace(model, drawn(5, 8))
    assert list(by_name(record.weights)) == ["last"]


@pytest.mark.filterwarnings("ignore:the trace")
@pytest.mark.parametrize("frames", [1, 2])
def test_other_weights_of_one_parameter_are_another_product(frames: int) -> None:
    flat, square = nn.Parameter(drawn(128)), nn.Parameter(drawn(8, 8))
    model = Calls(lambda model, x: x @ flat[:64].view(8, 8) @ flat[64:].view(8, 8)
                  @ square @ square.mT @ square, flat=flat, square=square)
    record = hooks.trace(model, [drawn(5, 8)] * frames)
    assert list(by_name(record.weights)) == ["flat", "flat.use_2", "square", "square.use_2", "last"]
    for name, weight in {"flat": flat[:64].view(8, 8).mT, "flat.use_2": flat[64:].view(8, 8).mT,
                         "square": square.mT, "square.use_2": square}.items():
        assert torch.equal(by_name(record.weights)[name], weight)
    assert [len(each) for each in record.frames[-1].operands.values()] == [5, 5, 10, 5, 5]


def test_einsum_with_heads_in_any_order() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.v = nn.Parameter(drawn(4, 16, 8)), nn.Parameter(drawn(8, 4, 16))

        def forward(self, x: Tensor) -> Tensor:
            q = torch.einsum("Zqd,hdK->ZhqK", x, self.w)
            k = torch.einsum("Zqd,hdK->ZqhK", x, self.w)
            pairs = torch.einsum("ZhqK,ZphK->Zhqp", q, k).softmax(-1)
            return torch.einsum("ZqhK,KhD->ZqD", torch.einsum("Zhqp,ZphK->ZqhK", pairs, k), self.v)

    with FlopCounterMode(display=False) as counter:
        Heads()(drawn(1, 9, 16))
    record = hooks.trace(Heads(), drawn(1, 9, 16))
    assert record.macs == counter.get_total_flops() // 2
    assert not record.unseen


def test_pruned_layers_keep_their_names() -> None:
    model = PatchVit().eval()
    for block in model.blocks:
        prune.l1_unstructured(block["up"], "weight", 0.5)
    record = hooks.trace(model, drawn(1, 3, 8, 8))
    assert not record.unrecognized
    assert float((by_name(record.weights)["blocks.0.up.fc1"] == 0).float().mean()) == 0.5


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_scripted_parts_are_seen_and_no_hook_is_left() -> None:
    model = nn.Sequential(nn.Linear(8, 8), torch.jit.script(nn.Sequential(nn.Linear(8, 4))))
    with pytest.warns(UserWarning, match="role in a block not recognized"):
        record = hooks.trace(model, drawn(5, 8))
    assert record.macs == 5 * (64 + 32)
    assert not record.unseen
    assert not model[0]._forward_hooks


def test_what_a_network_keeps_of_its_run_can_be_trained_with() -> None:
    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.table = nn.Linear(8, 8), None

        def forward(self, x: Tensor) -> Tensor:
            self.table = torch.ones_like(x) if self.table is None else self.table
            return self.fc1(x) * self.table

    model = Cached()
    hooks.trace(model, drawn(5, 8))
    model(drawn(5, 8)).sum().backward()
    assert model.fc1.weight.grad is not None


def test_an_exception_of_a_network_leaves_nothing_behind() -> None:
    def fails(model: nn.Module, x: Tensor) -> Tensor:
        raise ArithmeticError("the network's own")

    model = Calls(fails).train()
    with pytest.raises(ArithmeticError, match="the network's own"):
        hooks.trace(model, drawn(5, 8))
    assert model.training
    assert model.last.training
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    assert not torch.is_inference_mode_enabled()
    assert torch.backends.mkldnn.enabled
