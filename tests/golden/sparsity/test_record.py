"""Records: from the network, by hooks from any module, from statistics, and in files."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import infer
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.sparsity import hooks
from deltamoe.golden.sparsity.generated import generated
from deltamoe.golden.sparsity.names import recognize
from deltamoe.golden.sparsity.record import Moment, Record, record
from deltamoe.golden.sparsity.trace_file import load, save
from tests.golden.sparsity.support import by_name, play, spoil


class Mlp(nn.Module):
    """A router, two experts and a layer behind them, on tokens (B, T, 8)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.gate = nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.ReLU()) for _ in range(2))
        self.down_proj = nn.Linear(16, 8)
        self.drop = nn.Dropout(0.9)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        x = x.flatten(0, 1)
        chosen = self.gate(x).argmax(-1)
        hidden = torch.zeros(len(x), 16)
        for index, expert in enumerate(self.experts):
            if (chosen == index).any():
                hidden[chosen == index] = expert(x[chosen == index])
        return self.drop(self.down_proj(hidden) * scale)


@pytest.fixture
def shown() -> list[Tensor]:
    return [torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(n)) for n in range(2)]


def test_a_record_holds_what_the_integer_network_multiplied(live: Record) -> None:
    for moment in live.frames:
        trace = infer(live.model, moment.pixels)
        assert torch.equal(moment.output, trace.x)
        assert list(moment.operands) == list(trace.operands)
        assert all(torch.equal(moment.operands[product], operand)
                   for product, operand in trace.operands.items())
        for layer, (chosen, _) in trace.routes.items():
            assert torch.equal(moment.routes[layer], chosen)
            assert torch.equal(moment.logits[layer].argsort(dim=-1, descending=True, stable=True)
                               [:, :2], chosen)
    with pytest.raises(ValueError, match=r"^there is no frame to record$"):
        record(live.model, [])


def test_real_weights_and_biases_give_the_results(live: Record) -> None:
    """Codes times scales, with zero at zero: what requantization rounds."""
    product = Operator(Part.FC2, 1, 0)
    x = live.values(product)
    model = live.model
    acc = live.frames[0].operands[product] @ model["blocks.1.experts.fc2.weight"][0].long().T
    exact = ((acc + model["blocks.1.experts.fc2.bias"][0])
             * model["blocks.1.experts.fc2.multiplier"][0]
             / 2.0 ** model.number("blocks.1.experts.fc2.shift"))
    results = x @ live.real(product).T + live.bias(product)
    assert torch.allclose(results[: len(exact)], exact.double())


def test_hooks_record_every_linear_layer(shown: list[Tensor]) -> None:
    model = Mlp().train()
    recorded = hooks.trace(model, shown)
    assert model.training
    assert not model.gate._forward_hooks
    assert list(map(str, recorded.products)) == [
        "gate", "experts.0.0.fc1", "experts.1.0.fc1", "down_proj"]
    for x, moment in zip(shown, recorded.frames, strict=True):
        rows = x.flatten(0, 1)
        codes = by_name(moment.operands)["gate"]
        top = max(float(each.abs().max()) for each in shown)
        assert torch.equal(codes, (rows.double() * 127 / top).round().long())
        assert sum(len(by_name(moment.operands)[f"experts.{n}.0.fc1"]) for n in range(2)) == 10
        zeros = (by_name(moment.operands)["down_proj"] == 0).float().mean()
        assert 0.3 < zeros < 0.7, "behind a ReLU"
    assert torch.equal(by_name(recorded.weights)["down_proj"], model.down_proj.weight.detach())
    (frame, _), (dense, _) = play("relu", recorded), play("dense", recorded)
    assert by_name(frame.works)["down_proj"].macs < 0.7 * by_name(dense.works)["down_proj"].macs
    assert by_name(frame.works)["gate"].macs == by_name(dense.works)["gate"].macs


def test_inputs_may_be_tensors_arguments_or_dictionaries(shown: list[Tensor]) -> None:
    model = Mlp()
    whole = hooks.trace(model, shown[0])
    for frame in ((shown[0], 2.0), {"x": shown[0], "scale": 0.5}):
        recorded = hooks.trace(model, [frame])
        assert all(torch.equal(recorded.frames[0].operands[product],
                               whole.frames[0].operands[product])
                   for product in whole.products)


def test_routers_are_recorded_and_mechanisms_route(shown: list[Tensor]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([Mlp(), Mlp()])

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[1](self.layers[0](x).unflatten(0, (2, 5)))

    model = Net()
    recorded = hooks.trace(model, shown, {"layers.0.gate": 1, "layers.1.gate": 1})
    dense, _ = play("dense", recorded)
    for layer in range(2):
        ran = by_name(recorded.frames[0].operands)
        rows = [len(ran.get(f"layers.{layer}.experts.{n}.0.fc1", ())) for n in range(2)]
        assert dense.routed[layer].tolist() == rows
    both, _ = play("top-k", recorded, k=2)
    assert both.routed[0].tolist() == [10, 10]
    assert by_name(both.works)["layers.0.experts.0.0.fc1"].macs == 10 * 8 * 16
    one, _ = play("expert-pruning", recorded, experts=1)
    assert sorted(one.routed[1].tolist()) == [0, 10]


class Attending(nn.Module):
    """Two blocks of two heads over 6 tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.blocks = nn.ModuleList([nn.ModuleDict(
            {"qkv": nn.Linear(8, 24), "proj": nn.Linear(8, 8)}) for _ in range(2)])
        self.heads = nn.ModuleList([Heads() for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        for block, each in zip(self.blocks, self.heads, strict=True):
            x = x + block["proj"](each(block["qkv"](input=x)))
        return x


class Heads(nn.Module):
    def forward(self, qkv: Tensor) -> Tensor:
        q, k, v = qkv.unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        context = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return context.transpose(1, 2).flatten(-2)


def test_attention_is_recorded_by_the_function_called() -> None:
    model = Attending()
    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(3))
    recorded = hooks.trace(model, x)
    assert list(map(str, recorded.products[:4])) == [
        "blocks.0.qkv", "heads.0.attention.scores", "heads.0.attention.values", "blocks.0.proj"]
    (moment,) = recorded.frames
    qkv = model.blocks[0]["qkv"](x).detach()[0].unflatten(-1, (3, 2, 4)).permute(1, 2, 0, 3)
    for real, codes in ((qkv[0], by_name(moment.operands)["heads.0.attention.scores"]),
                        (qkv[1], moment.keys["heads.0.attention"])):
        assert torch.equal(codes, (real.double() * 127 / float(real.abs().max())).round().long())
    e = by_name(moment.operands)["heads.0.attention.values"]
    assert (e.triu(1) == 0).all(), "causal"
    assert (e[:, 0, 0] == 127).all()
    (frame,), (dense,) = play("sparsifiner", recorded, density=0.5), play("dense", recorded)
    for part, kept in (("scores", 5 * 3 + 6), ("values", 5 * 3 + 6)):
        name = f"heads.1.attention.{part}"
        assert by_name(dense.works)[name].macs == 2 * 36 * 4
        assert by_name(frame.works)[name].macs == 2 * kept * 4


def test_what_cannot_be_traced_is_refused(shown: list[Tensor]) -> None:
    model = Mlp()
    for inputs, routers, words in (
            ([], None, "^there is no frame to record$"),
            (shown, {"router": 1}, "^router 'router' is not one of the products gate, exp"),
            (shown, {"gate": 3}, r"^router 'gate': 3 experts of a token are not in 1\.\.2$"),
            ([shown[0] * float("nan")], None, "^operand of gate holds NaN or infinity$")):
        with pytest.raises(ValueError, match=words):
            hooks.trace(model, inputs, routers)
    assert not model.gate._forward_hooks
    with pytest.raises(ValueError, match=r"^ReLU has no matrix product that can be recorded$"):
        hooks.trace(nn.ReLU(), shown)


@pytest.mark.parametrize(("model", "inputs", "routers", "words"), [
    (torch.relu, torch.ones(1), None, "^the model is builtin_.*, not a torch.nn.Module$"),
    (nn.Linear(2, 2, device="meta"), torch.ones(1, 2), None, "^parameter weight has no values"),
    (nn.Linear(2, 2), None, None, "^the inputs are NoneType, not a tensor"),
    (nn.Linear(2, 2), "x.png", None, "^the inputs are str, not a tensor"),
    (nn.Linear(2, 2), torch.ones(1, 2), ["weight"], "^routers are a dictionary of names"),
    (nn.Linear(2, 2), torch.ones(1, 2), {"last": "2"}, "^routers are a dictionary of names")])
def test_arguments_of_another_kind_are_refused(
        model: object, inputs: object, routers: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hooks.trace(model, inputs, routers)


@pytest.mark.filterwarnings("ignore:the trace sees 100 % of the MACs")
def test_a_dictionary_is_one_frame() -> None:
    record = hooks.trace(nn.Linear(2, 2), {"input": torch.ones(3, 2)})
    assert (len(record.frames), record.macs) == (1, 3 * 2 * 2)


def test_statistics_are_those_asked_for() -> None:
    drawn = generated({"fc1": (64, 4000, 2)}, density=0.3, token_correlation=0.2,
                      time_correlation=0.6, frames=3, seed=7)
    first, second, _ = (by_name(moment.operands)["fc1"] for moment in drawn.frames)
    for x in (first, second):
        assert float((x != 0).double().mean()) == pytest.approx(0.3, abs=0.01)
        assert 0 < x.abs().max() <= 127
    kept = 0.6 + 0.4 * 0.7**2
    same = float((first == second).double().mean())
    assert same == pytest.approx(kept, abs=0.01), "redrawn nonzero codes rarely agree"
    columns = (first[:-1] == first[1:]) & (first[1:] != 0)
    assert float(columns.double().mean()) == pytest.approx(0.2**2 * 0.3, abs=0.01)
    again = generated({"fc1": (64, 4000, 2)}, density=0.3, token_correlation=0.2,
                      time_correlation=0.6, frames=3, seed=7)
    assert torch.equal(first, by_name(again.frames[0].operands)["fc1"])


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_statistics_at_the_ends(density: float) -> None:
    for name in ("fc1", "fc2"):
        drawn = generated({name: (8, 100, 2)}, density=density, frames=2, time_correlation=1.0)
        one, other = (by_name(moment.operands)[name] for moment in drawn.frames)
        assert float((one != 0).double().mean()) == density
        assert torch.equal(one, other)


def test_skew_makes_routing_uneven() -> None:
    def spread(skew: float) -> float:
        drawn = generated(MODELS["m3vit-tiny-129"], routing_skew=skew, frames=1, seed=3)
        (frame,) = play("dense", drawn)
        return sum(float(tokens.std()) for tokens in frame.routed.values())

    assert spread(0.0) < spread(1.0) < spread(4.0)


@pytest.mark.parametrize(("asked", "words"), [
    ({"density": 1.5}, r"^density=1\.5 is not in 0\.\.1$"),
    ({"time_correlation": -0.1}, r"^time_correlation=-0\.1"),
    ({"routing_skew": -1.0}, r"^routing_skew=-1\.0, frames=2"),
    ({"routing_skew": float("inf")}, r"^routing_skew=inf, frames=2"), ({"frames": 0}, "frames=0"),
])
def test_impossible_statistics_are_refused(asked: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        generated({"fc1": (1, 2, 3)}, **asked)


def equal(one: Record, other: Record) -> None:
    assert (one.zeros, one.config, one.task) == (other.zeros, other.config, other.task)
    assert one.weights.keys() == other.weights.keys()
    for product, weight in one.weights.items():
        assert torch.equal(weight.double(), other.weights[product].double())
    for left, right in zip(one.frames, other.frames, strict=True):
        assert list(left.operands) == list(right.operands)
        for kind in ("operands", "keys", "logits", "routes"):
            pairs = getattr(left, kind), getattr(right, kind)
            assert pairs[0].keys() == pairs[1].keys()
            assert all(torch.equal(value, pairs[1][key]) for key, value in pairs[0].items())


def test_a_file_gives_back_the_record(tmp_path: Path, live: Record, shown: list[Tensor]) -> None:
    """Of the network, of a foreign one, and of a mask alone; mechanisms see no difference."""
    mask = torch.rand(3, 13, generator=torch.Generator().manual_seed(0)) < 0.3
    product = recognize("fc2")
    masked = Record((Moment({product: mask}),), {product: torch.ones(4, 13)})
    for number, recorded in enumerate((live, hooks.trace(Mlp(), shown), masked)):
        path = tmp_path / f"{number}.safetensors"
        save(recorded, path)
        back = load(path)
        equal(recorded, back)
        for name in ("zero-skip", "teal", "magnitude"):
            one = play(name, replace(recorded, model=None))
            assert [f.macs for f in one] == [f.macs for f in play(name, back)]
    (frame,) = play("zero-skip", masked)
    assert frame.macs == int(mask.sum()) * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{number}.safetensors" for number in range(3)]


GATE = "0.logits.1"


@pytest.mark.parametrize(("changes", "words"), [
    ({"drop": "weight.blocks.0.q"}, r"tensor weight\.blocks\.0\.q is missing\)$"),
    ({"drop": "1.operand.patch"}, r"tensor 1\.operand\.patch is missing\)$"),
    ({"drop": "0.routes.1"}, r"frame 0 has logits of layers \[1, 3\] and routes of layers \[3\]"),
    ({"drop": GATE}, r"tensor 0\.routes\.1 does not name experts of 0\.logits\.1"),
    ({"tensors": {"weight.patch": torch.ones(32, 5)}},
     r"tensor 0\.operand\.patch has 4 columns, its weights have 5"),
    ({"tensors": {"weight.patch": torch.ones(4)}}, r"weight\.patch has shape \(4,\), not 2 axes"),
    ({"tensors": {GATE: torch.full((17, 4), float("nan"))}}, r"0\.logits\.1 holds NaN or infinity"),
    ({"tensors": {"0.routes.1": torch.full((17, 2), 4)}}, r"0\.routes\.1 does not name experts"),
    ({"tensors": {"0.routes.1": torch.ones(17, 2)}}, r"0\.routes\.1 holds real numbers"),
    ({"tensors": {"extra": torch.ones(1)}}, "tensor extra is none of a trace's"),
    ({"metadata": {"format": "other"}}, "^[^ ]+: not a trace .*'other', not 'deltamoe-trace-1'"),
    ({"metadata": {"format": "deltamoe-trace-1"}}, "metadata record is not a JSON object"),
    ({"metadata": {"format": "deltamoe-trace-1", "record": "{"}}, "not a usable trace"),
    ({"frames": 3}, "products are not lists of names for each of frames=3"),
    ({"frames": "2"}, "metadata record lacks frames, or it is of the wrong type"),
    ({"zeros": {"patch": 0.5}}, "zeros holds something that is no integer"),
    ({"masks": {"0.operand.patch": 99}}, "not the packed bits of 99 elements"),
    ({"config": {"name": "digits"}}, "not a usable trace .*missing"),
    ({"task": -1}, "metadata record: task=-1 is negative"),
    ({"zeros": {"patch": 2**63}}, "zeros holds something that is no integer of 32 bits"),
    ({"tensors": {"weight.patch": torch.ones(0, 4)}}, r"weight\.patch has shape \(0, 4\)"),
    ({"tensors": {"weight.patch": torch.ones(32, 4, dtype=torch.complex64)}},
     r"weight\.patch holds complex numbers"),
    ({"products": [[], []]}, "metadata record: frame 0 has no product"),
    ({"products": [["blocks.9.q"], ["patch"]]}, r"product blocks\.9\.q is none of digits"),
    ({"known": {"0.fc1": {"part": "fc1"}}},
     r"known says of 0\.fc1 something else than part, layer, expert, owner, mixture"),
    ({"known": {"0.fc1": {"part": "fc1", "layer": "0", "expert": None, "owner": "",
                          "mixture": ""}}}, r"known says of 0\.fc1 something else"),
])
def test_a_bad_file_is_refused_in_one_line(changes: dict, words: str, tmp_path: Path,
                                           live: Record) -> None:
    save(live, tmp_path / "whole.safetensors")
    spoil(tmp_path / "whole.safetensors", tmp_path / "bad.safetensors", **changes)
    with pytest.raises(ValueError, match=words) as error:
        load(tmp_path / "bad.safetensors")
    assert str(error.value).startswith(f"{tmp_path / 'bad.safetensors'}: ")
    assert "\n" not in str(error.value)


def test_what_a_file_does_not_say_of_a_product_its_name_does(tmp_path: Path) -> None:
    product = recognize("layers.3.mlp.up").known_as("fc1")
    save(Record((Moment({product: torch.ones(2, 3)}),), {product: torch.ones(4, 3)}),
         tmp_path / "whole.safetensors")
    spoil(tmp_path / "whole.safetensors", tmp_path / "bare.safetensors", known={})
    spoil(tmp_path / "whole.safetensors", tmp_path / "other.safetensors", known={
        str(product): {"part": "fc2", "layer": 7, "expert": None, "owner": "", "mixture": ""}})
    whole, bare, other = (load(tmp_path / f"{name}.safetensors").products
                          for name in ("whole", "bare", "other"))
    assert whole == bare == [product]
    assert [(each.part, each.layer) for each in other] == [("fc2", 7)]


def test_a_truncated_file_is_refused(tmp_path: Path, live: Record) -> None:
    path = tmp_path / "trace.safetensors"
    save(live, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=f"^{tmp_path}: not a file that can be read"):
        load(tmp_path)


def test_names_and_figures_need_no_torch() -> None:
    code = ("import sys, deltamoe.golden.config, deltamoe.golden.sparsity.registry, "
            "deltamoe.golden.sparsity.metrics; "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
