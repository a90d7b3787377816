"""Weights: halves, ratios and worked examples of the papers."""

import pytest
import torch
from torch.nn.utils import prune

from deltamoe.golden.integer import infer
from deltamoe.golden.library import find
from deltamoe.golden.operators import QKV, Operator, Part
from deltamoe.golden.sparsity import hooks
from deltamoe.golden.sparsity.names import recognize
from deltamoe.golden.sparsity.record import Record, record
from deltamoe.golden.sparsity.rules.compression import DynamicSparse, Wanda
from deltamoe.golden.sparsity.rules.weights import Essential, GroupsOf, Magnitude, erdos_renyi
from tests.golden.sparsity.support import by_name, layer, play

GENERATOR = torch.Generator().manual_seed(5)


def matrix(rows: int, columns: int) -> torch.Tensor:
    return torch.randint(-127, 128, (rows, columns), generator=GENERATOR).to(torch.int8)


def test_two_of_four_halves_multiplications_and_bytes_and_adds_two_bits() -> None:
    weight = matrix(16, 32)
    recorded = layer(weight, torch.ones(5, 32, dtype=torch.int64))
    (sparse,), (dense,) = play("n-m", recorded, n=2, m=4), play("dense", recorded)
    assert 2 * sparse.macs == dense.macs == 5 * 16 * 32
    work = by_name(sparse.works)["fc2"]
    assert 2 * work.weight_bytes == 16 * 32
    assert work.index_bytes == work.weight_bytes * 2 // 8
    (one,) = play("n-m", recorded, n=1, m=8)
    assert 8 * one.macs == dense.macs
    assert by_name(one.works)["fc2"].index_bytes == 64 * 3 // 8


@pytest.mark.parametrize("name", ["n-m", "magnitude", "teal", "wina", "wanda"])
def test_layers_of_any_name_are_sparse(name: str) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    recorded = hooks.trace(network, [torch.randn(5, 32, generator=GENERATOR)])
    (sparse,), (dense,) = play(name, recorded), play("dense", recorded)
    assert by_name(sparse.works).keys() == {"0.fc1", "2.fc2"}
    assert all(work.macs < 0.8 * dense.works[product].macs
               for product, work in sparse.works.items())


def test_the_largest_of_each_group_stay() -> None:
    weight = torch.tensor([[1, -5, 3, 0, 2, 2, 2, 9]], dtype=torch.int8)
    pruned = GroupsOf(layer(weight, [[1] * 8]), 2, 4).weight(recognize("fc2"), weight)
    assert pruned.tolist() == [[0, -5, 3, 0, 2, 0, 0, 9]]


def test_wanda_prunes_the_example_of_its_paper() -> None:
    """Rows compete with themselves, weighed by the length of an input, not by size alone."""
    weight = torch.tensor([[4, 0, 1, -1], [3, -2, -1, -3], [-3, 1, 0, 2]], dtype=torch.int8)
    recorded = layer(weight, [[1, 2, 8, 3]])
    assert Wanda(recorded, 0.5).weight(recognize("fc2"), weight).tolist() == [
        [4, 0, 1, 0], [0, 0, -1, -3], [-3, 0, 0, 2]]
    assert Magnitude(recorded, 0.5).weight(recognize("fc2"), weight).tolist() == [
        [4, 0, 0, 0], [3, -2, 0, -3], [-3, 0, 0, 2]]


def test_swapping_lowers_the_mean_error_and_keeps_the_density() -> None:
    weight, x = matrix(40, 64), torch.randint(0, 20, (30, 64), generator=GENERATOR)
    recorded = layer(weight, x)
    errors = []
    for rule in (Wanda(recorded, 0.5), DynamicSparse(recorded, 0.5)):
        kept = rule.keep(recognize("fc2"), weight)
        assert (kept.sum(-1) == 32).all()
        errors.append((x.double() @ (weight.double() * ~kept).T).mean(0).abs())
    assert (errors[1] <= errors[0] + 1e-9).all()
    assert errors[1].mean() < 0.5 * errors[0].mean()


def test_erdos_renyi_is_the_ratio_of_rows_and_columns() -> None:
    """Density goes with (N + K) / (N K), up to 1; the total is the budget."""
    shapes = {"small": (8, 8), "wide": (128, 64), "large": (256, 256)}
    share = erdos_renyi(shapes, 0.2)
    assert share["small"] == 1
    assert share["wide"] / share["large"] == pytest.approx(
        (192 / (128 * 64)) / (512 / (256 * 256)))
    total = sum(n * k for n, k in shapes.values())
    assert sum(share[name] * n * k for name, (n, k) in shapes.items()) == pytest.approx(0.2 * total)
    assert erdos_renyi(shapes, 1.0) == dict.fromkeys(shapes, 1.0)


@pytest.mark.parametrize("name", ["magnitude", "random", "wanda", "dsnot"])
def test_half_of_each_layer_stays(name: str, still: Record) -> None:
    for frame in play(name, still, density=0.5):
        for product, work in frame.works.items():
            inside = product.layer is not None and product.part not in (
                Part.GATE, Part.SCORES, Part.VALUES)
            assert work.weight_density == (0.5 if inside else 1)
            if inside:
                assert 2 * work.weight_bytes == work.depth * work.columns
                assert work.index_bytes == work.depth * work.columns // 8


def test_few_weights_are_named_by_column_instead_of_a_bit_each() -> None:
    recorded = layer(matrix(16, 64), torch.ones(1, 64, dtype=torch.int64))
    (frame,) = play("magnitude", recorded, density=1 / 64)
    assert by_name(frame.works)["fc2"].index_bytes == 16 * 6 // 8


@pytest.mark.parametrize("density", [0.3, 0.5, 0.9])
def test_essential_sparsity_is_global_pruning_of_the_trained_weights(
        density: float, live: Record) -> None:
    """The authors call PyTorch's one-shot global L1 pruning on the encoder's linear layers."""
    network = find("digits").real
    parameters = []
    for block in network.blocks:
        layers = [block.attn.qkv, block.attn.proj]
        layers += block.mlp.experts.values() if block.is_moe else [block.mlp.fc1, block.mlp.fc2]
        parameters += [(module, "weight") for module in layers]
    prune.global_unstructured(parameters, prune.L1Unstructured, amount=1 - density)
    wanted = {}
    for number, block in enumerate(network.blocks):
        masks = {(Part.PROJ, None): block.attn.proj.weight_mask} | {
            (part, None): mask for part, mask in zip(
                QKV, block.attn.qkv.weight_mask.chunk(3), strict=True)}
        for part, key in ((Part.FC1, "htoh4"), (Part.FC2, "h4toh")):
            masks |= {(part, expert): mask for expert, mask in enumerate(
                block.mlp.experts[key].weight_mask)} if block.is_moe else {
                (part, None): getattr(block.mlp, part).weight_mask}
        wanted |= {Operator(part, number, expert): mask for (part, expert), mask in masks.items()}
    rule = Essential(live, density)
    assert rule.nonzero.keys() == wanted.keys()
    for product, mask in wanted.items():
        assert torch.equal(rule.nonzero[product], mask.bool()), product


@pytest.mark.parametrize("name", ["essential", "magnitude", "n-m"])
def test_codes_of_other_scales_are_not_compared(name: str, live: Record) -> None:
    """Scales of operands are in the codes: without the trained weights there is no order."""
    with pytest.raises(ValueError, match=r"weights of blocks\.\d\.\w+ before quantization"):
        play(name, record(live.model, [live.frames[0].pixels]))


def test_magnitudes_are_those_of_the_trained_weights(live: Record) -> None:
    for number, block in enumerate(find("digits").real.blocks):
        q = block.attn.qkv.weight.detach()[:32]
        queries = Operator(Part.Q, number)
        kept = Magnitude(live, 0.25).keep(queries, live.weights[queries])
        assert kept.sum() == 256
        assert q[kept].abs().min() > q[~kept].abs().max()
        groups = GroupsOf(live, 2, 4).keep(queries, torch.zeros(32, 32))
        size = q.abs().view(32, 8, 4)
        assert torch.equal(groups, (size >= size.sort(-1).values[..., 2:3]).view(32, 32))


def test_one_threshold_leaves_layers_of_other_density(live: Record) -> None:
    frame, _ = play("essential", live, density=0.3)
    density = {name: work.weight_density for name, work in frame.works.items()
               if work.weight_density < 1}
    assert max(density.values()) > 0.4 > 0.2 > min(density.values())


def test_pruned_weights_run_as_a_network_of_their_own(live: Record) -> None:
    """The network that a rule makes gives the output that its frames report on."""
    rule = Magnitude(live, 0.5)
    model = rule.network(live.model)
    for moment, frame in zip(live.frames, play("magnitude", live), strict=True):
        trace = infer(model, moment.pixels)
        noise = (trace.x - moment.output).double().square().sum()
        signal = moment.output.double().square().sum()
        assert frame.sqnr_db == pytest.approx(10 * float(torch.log10(signal / noise)))
    kept = model["blocks.1.experts.fc2.weight"] != 0
    assert (kept.flatten(1).sum(1) <= 32 * 32 // 2).all()
    assert torch.equal(model["patch.weight"], live.model["patch.weight"])


def test_a_pruned_layer_still_maps_zero_to_its_bias(live: Record) -> None:
    """Codes of an activation have a zero point, which the biases hold times the weights."""
    model = Magnitude(live, 0.3).network(live.model)
    for product in (Operator(Part.FC2, 0), Operator(Part.FC2, 1, 0)):
        name, zero = product.whole, live.zeros[product]
        assert zero != 0
        ends = [zero * net[f"{name}.weight"].long().sum(-1) + net[f"{name}.bias"]
                for net in (model, live.model)]
        assert torch.equal(*ends)


def test_wider_and_sparser_is_the_same_work_and_more_indices() -> None:
    """Sparse-IFT: iso-FLOP by construction."""
    recorded = layer(matrix(32, 8), torch.ones(3, 8, dtype=torch.int64), name="fc1")
    (dense,) = play("dense", recorded)
    for factor in (1, 2, 4):
        (wide,) = play("sparse-ift", recorded, factor=factor)
        work = by_name(wide.works)["fc1"]
        assert (wide.macs, work.columns) == (dense.macs, 32 * factor)
        assert work.weight_bytes == 32 * 8
        assert work.index_bytes == 32 * 8 * min(factor, 3) // 8
        assert wide.sqnr_db is None


def test_four_bits_halve_the_bytes() -> None:
    weight = matrix(16, 32)
    recorded = layer(weight, torch.ones(5, 32, dtype=torch.int64))
    (frame,), (dense,) = play("low-bit", recorded, bits=4), play("dense", recorded)
    assert 2 * frame.weight_bytes == dense.weight_bytes
    assert frame.macs == dense.macs
    from deltamoe.golden.sparsity.rules.compression import LowBit

    pruned = LowBit(recorded, 4).weight(recognize("fc2"), weight)
    assert len(pruned.unique()) <= 15
    assert (pruned.long() - weight.long()).abs().max() <= 127 / 7 / 2 + 0.5


def test_a_low_rank_matrix_needs_no_sparse_rows() -> None:
    """W = UV + S with rank 2: the product costs r (K + N), and nothing is lost."""
    weight = (torch.arange(1, 9)[:, None] * torch.arange(1, 13) % 128).to(torch.int8)
    recorded = layer(weight, torch.ones(5, 12, dtype=torch.int64))
    (frame,) = play("low-rank-sparse", recorded, rank=1, density=0.25)
    work = by_name(frame.works)["fc2"]
    assert work.predictor_macs == 5 * 1 * (12 + 8)
    assert work.macs == 5 * 12 * 2
    assert work.weight_bytes == 2 * 12
    from deltamoe.golden.sparsity.rules.compression import LowRankSparse

    assert torch.equal(LowRankSparse(recorded, 1, 0.0).weight(recognize("fc2"), weight), weight)
