"""Routing: numbers of the papers that can be computed here, and rules worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.golden.config import MODELS
from deltamoe.golden.integer import Context, embed
from deltamoe.golden.operators import Operator, Part
from deltamoe.golden.quantization.report import sqnr
from deltamoe.golden.sparsity.generated import generated
from deltamoe.golden.sparsity.metrics import (
    cache_hits,
    chunk_sparsity,
    segment_routing,
    token_sparsity,
    union_density,
)
from deltamoe.golden.sparsity.record import Moment, Record
from deltamoe.golden.sparsity.rules.experts import Merged
from tests.golden.sparsity.support import by_name, experts, play

SEED = 3


def members(*rows: set[int], count: int = 3) -> np.ndarray:
    return np.array([[index in row for index in range(count)] for row in rows])


def expert_bytes(frame) -> int:
    return sum(work.weight_bytes for product, work in frame.works.items()
               if product.expert is not None)


def test_top_two_of_sixteen_is_an_eighth_of_all_experts() -> None:
    """M3ViT-tiny: 16 experts of half the dense width, two a token, are one dense layer's work."""
    record = generated(MODELS["m3vit-tiny-129"], frames=1)
    (two,), (every,) = play("top-k", record, k=2), play("top-k", record, k=16)
    routed, all_experts = (sum(work.macs for product, work in frame.works.items()
                               if product.expert is not None) for frame in (two, every))
    assert routed * 8 == all_experts == 6 * 129 * 16 * 2 * 192 * 384
    dense = sum(work.macs for product, work in two.works.items()
                if product.part in (Part.FC1, Part.FC2) and product.expert is None)
    assert routed == dense


def test_segment_routing_of_a_known_trace() -> None:
    """Segments of 2: expert 0 in both tokens of one, expert 1 in both of another, others once.

    Chosen a segment: {0: 2}, {0: 1, 1: 1}, {1: 2}. All of them: 2*6 / (2*4 + 6); only full ones:
    2*4 / (2*2 + 6).
    """
    trace = members({0}, {0}, {1}, {1})
    assert segment_routing(trace, 2) == pytest.approx(max(12 / 14, 8 / 10))
    assert segment_routing(trace, 1) == 1
    assert segment_routing(members({0}, {0}, {0}), 3) == 1
    assert segment_routing(members({0}, {1}, {2}), 3) == pytest.approx(2 * 3 / (3 * 3 + 3))
    with pytest.raises(ValueError, match=r"length=5 is not in 1\.\.4"):
        segment_routing(trace, 5)


def test_segment_cache_of_a_known_trace() -> None:
    """Two experts fit, one a token; what comes least often makes room.

    0 misses, 1 misses, 0 hits, 2 misses and drops 1 (0 comes again), 0 hits, 1 misses.
    """
    trace = members({0}, {1}, {0}, {2}, {0}, {1})
    assert cache_hits(trace, 2, 2) == pytest.approx(2 / 6)
    assert cache_hits(trace, 3, 1) == pytest.approx(3 / 6)
    assert cache_hits(trace, 1, 1) == 0
    with pytest.raises(ValueError, match="size=1 is below the 2 experts"):
        cache_hits(members({0, 1}), 1, 1)


def test_a_cache_of_twice_the_active_experts_hits_more_often_if_routing_is_local() -> None:
    rng = np.random.default_rng(SEED)
    loose = np.eye(16, dtype=bool)[rng.integers(0, 16, 400)]
    local = np.eye(16, dtype=bool)[rng.integers(0, 16, 100).repeat(4)]
    assert cache_hits(local, 2, 4) > 0.7 > 0.3 > cache_hits(loose, 2, 4)
    assert segment_routing(local, 4) > segment_routing(loose, 4)


def test_chunks_of_independent_tokens_need_the_union() -> None:
    """BlockFFN: 80 % of experts idle a token; 8 tokens that are alike leave more than 0.8**8."""
    rng = np.random.default_rng(SEED)
    loose = rng.random((8000, 64)) < 0.2
    assert token_sparsity(loose) == pytest.approx(0.8, abs=0.005)
    assert chunk_sparsity(loose, 8) == pytest.approx(1 - union_density(0.2, 8), abs=0.005)
    assert 1 - union_density(0.2, 8) == pytest.approx(0.168, abs=0.001)
    alike = loose[::8].repeat(8, 0)
    assert chunk_sparsity(alike, 8) == pytest.approx(0.8, abs=0.01)
    assert chunk_sparsity(loose, 1) == pytest.approx(token_sparsity(loose))
    with pytest.raises(ValueError, match=r"length=9 is not in 1\.\.8 tokens"):
        chunk_sparsity(loose[:8], 9)


def test_block_ffn_reads_an_expert_once_for_each_chunk_that_needs_it() -> None:
    logits = [[1.0, -1.0], [-1.0, -1.0], [1.0, 2.0], [2.0, -1.0]]
    record = experts([logits], 1)
    (whole,), (pairs,), (single,) = (play("block-ffn", record, chunk=chunk) for chunk in (0, 2, 1))
    assert whole.routed[1].tolist() == [3, 1]
    assert expert_bytes(whole) == 2 * 32
    assert expert_bytes(pairs) == (2 + 1) * 32
    assert expert_bytes(single) == (3 + 1) * 32
    assert whole.macs == pairs.macs == single.macs


def test_a_low_temperature_leaves_one_expert() -> None:
    logits = torch.randn(50, 8, generator=torch.Generator().manual_seed(SEED)).tolist()
    record = experts([logits], 2)
    (sparse,) = play("dense-to-sparse", record, temperature=0.01, threshold=0.1)
    (dense,) = play("dense-to-sparse", record, temperature=100.0, threshold=0.1)
    assert 50 <= sparse.routed[1].sum() <= 53
    assert dense.routed[1].tolist() == [50] * 8


def test_an_activation_before_the_softmax_levels_the_gate() -> None:
    """softmax(sigmoid((4, 0, -4)) / tau) is (0.50, 0.31, 0.19) for tau = 1, sharper below."""
    record = experts([[[4.0, 0.0, -4.0]]], 1)
    for act, temperature, chosen in ((0, 1.0, [1, 0, 0]), (1, 1.0, [1, 1, 0]), (1, 0.1, [1, 0, 0])):
        (frame,) = play("dense-to-sparse", record, temperature=temperature, threshold=0.25, act=act)
        assert frame.routed[1].tolist() == chosen


def test_thor_sends_all_tokens_to_one_expert_and_needs_no_gate(live: Record) -> None:
    seen = set()
    for frame in play("thor", live, seed=SEED) + play("thor", live, seed=SEED + 1):
        for tokens in frame.routed.values():
            assert sorted(tokens.tolist()) == [0, 0, 0, 17]
            seen.add(int(tokens.argmax()))
        assert not any(product.part == Part.GATE for product in frame.works)
    assert len(seen) > 1


def test_a_random_router_is_frozen(live: Record) -> None:
    one, other = play("smoe-dropout", live, k=2, seed=SEED), play("smoe-dropout", live, k=2, seed=0)
    again = play("smoe-dropout", live, k=2, seed=SEED)
    assert [f.routed[1].tolist() for f in one] == [f.routed[1].tolist() for f in again]
    assert [f.routed[1].tolist() for f in one] != [f.routed[1].tolist() for f in other]
    assert all(frame.routed[1].sum() == 2 * 17 for frame in one)


def test_switches() -> None:
    record = experts([[[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]]], 2)
    (frame,) = play("mote", record, without=0b0001, always=0b0100)
    assert frame.routed[1].tolist() == [0, 1, 2, 1]
    (frame,) = play("mote", record, without=0b0111)
    assert frame.routed[1].tolist() == [0, 0, 0, 2]
    (frame,) = play("mote", record)
    assert frame.routed[1].tolist() == [0, 1, 2, 1]
    for layers, routed in ((0b010, [0, 0, 0, 2]), (0b101, [1, 1, 1, 1])):
        (frame,) = play("mote", record, without=0b0111, layers=layers)
        assert frame.routed[1].tolist() == routed


def test_a_task_keeps_what_it_used_most() -> None:
    """Every token runs all skills of a task's set, without a gate; a pruned layer has one."""
    record = experts([[[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [0.0, 1.0, 3.0], [1.0, 0.0, 3.0]]], 1)
    (frame,) = play("task-set", record, experts=2)
    assert frame.routed[1].tolist() == [4, 0, 4]
    assert not any(product.part == Part.GATE for product in frame.works)
    (frame,) = play("expert-pruning", record, experts=2)
    assert frame.routed[1].tolist() == [2, 0, 2]
    (frame,) = play("expert-pruning", record, experts=1)
    assert frame.routed[1].tolist() == [4, 0, 0]
    assert by_name(frame.works)["blocks.1.gate.0"].columns == 2
    assert expert_bytes(frame) == 32


def test_product_keys_need_the_root_of_the_keys() -> None:
    """Additive logits are found exactly; the gate shrinks from E keys to sqrt(E) of full depth."""
    row, column = torch.tensor([0.0, 3.0, 1.0, 2.0]), torch.tensor([0.5, 0.0, 5.0, 0.1])
    record = experts([(row[:, None] + column).flatten()[None].tolist()], 2)
    (frame,) = play("product-keys", record, k=2)
    assert frame.routed[1].nonzero()[0].tolist() == [1 * 4 + 2, 3 * 4 + 2]
    assert by_name(frame.works)["blocks.1.gate.0"].macs == 4 * 2 * 4
    with pytest.raises(ValueError, match="3 experts are no square"):
        play("product-keys", experts([[[1.0, 2.0, 3.0]]], 1))


def test_merging_to_a_fifth_saves_80_percent_of_the_experts() -> None:
    """M-SMoE's largest saving of memory; tokens that chose two of a group run it once."""
    generator = torch.Generator().manual_seed(SEED)
    record = experts([torch.randn(200, 20, generator=generator).tolist()], 2)
    (merged,), (all_experts,) = play("m-smoe", record, groups=4), play("m-smoe", record, groups=20)
    assert expert_bytes(merged) * 5 == expert_bytes(all_experts) == 20 * 32
    assert all_experts.routed[1].sum() == 400 > merged.routed[1].sum() >= 200


def test_the_skills_of_a_task_are_averaged(live: Record) -> None:
    """SkillNet: the mean of the active modules' outputs; weights are 16 bits below 1."""
    from deltamoe.golden.sparsity.live import Live
    from deltamoe.golden.sparsity.rules.routing import TaskSet

    for count in (1, 2, 3):
        run = Live(TaskSet(live, count))
        run.frame(live.frames[0])
        logits = live.frames[0].logits[1]
        chosen, weights = run.choose(run.context(), 1, torch.zeros(len(logits), 32), torch.zeros(
            logits.shape, dtype=torch.int64))
        usage = torch.bincount(torch.cat([frame.routes[1].flatten() for frame in live.frames]),
                               minlength=4)
        best = usage.argsort(descending=True, stable=True)[:count]
        assert chosen.sort().values.tolist() == [sorted(best.tolist())] * len(logits)
        assert (weights == min(65535, round(65536 / count))).all()


def test_the_most_used_experts_of_all_layers_lead() -> None:
    """Shares 5, 4, 1, 0 and 3, 3, 2, 2 of 10: first the leader of each layer, then 4, 3, 2, 2."""
    usage = {1: [5, 4, 1, 0], 3: [3, 3, 2, 2]}
    routes = {layer: torch.arange(4).repeat_interleave(torch.tensor(counts))[:, None]
              for layer, counts in usage.items()}
    logits = {layer: torch.nn.functional.one_hot(route[:, 0], 4).double()
              for layer, route in routes.items()}
    record = Record((Moment({}, {}, logits, routes),), {})
    for groups, leaders in ((1, ([0], [0])), (2, ([0, 1], [0, 1])), (3, ([0, 1], [0, 1, 2, 3])),
                            (4, ([0, 1, 2, 3], [0, 1, 2, 3]))):
        rule = Merged(record, groups)
        assert (rule.leader(1).unique().tolist(), rule.leader(3).unique().tolist()) == leaders


def test_experts_that_are_permuted_copies_merge_without_loss(live: Record) -> None:
    """The hidden units of an expert have no order: merging finds the permutation."""
    from deltamoe.golden.sparsity.rules.experts import merged

    model = live.model
    tensors, name = dict(model.tensors), "blocks.1"
    order = torch.randperm(32, generator=torch.Generator().manual_seed(SEED))
    for kind in ("weight", "bias", "multiplier"):
        first = tensors[f"{name}.experts.fc1.{kind}"].clone()
        first[1] = first[0][order]
        second = tensors[f"{name}.experts.fc2.{kind}"].clone()
        second[1] = second[0][:, order] if kind == "weight" else second[0]
        tensors |= {f"{name}.experts.fc1.{kind}": first, f"{name}.experts.fc2.{kind}": second}
    share = torch.tensor([0.7, 0.3], dtype=torch.float64)
    network = merged(type(model)(model.config, tensors), 1, [(0, torch.arange(2), share)])
    for key, tensor in network.items():
        assert torch.equal(tensor[0], model[key][0]), key


def test_a_cache_reads_what_it_lost() -> None:
    """Two fit, one expert a token, least recently used: 0 1 | 0 2 | 1 1, and the next frame."""
    one = [[[1.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0], [0, 1.0, 0]]]
    first, second = play("expert-cache", experts(one * 2, 1), size=2, segment=1)
    assert expert_bytes(first) == (1 + 2 + 1) * 32
    assert expert_bytes(second) == (1 + 1 + 1) * 32
    first, second = play("expert-cache", experts(one * 2, 1), size=3, segment=1)
    assert (expert_bytes(first), expert_bytes(second)) == (3 * 32, 0)
    first, second = play("expert-cache", experts(one * 2, 1), size=1, segment=0)
    assert (expert_bytes(first), expert_bytes(second)) == (3 * 32, 2 * 32)


def test_lora_experts_cost_two_low_rank_products(still: Record) -> None:
    (dense, _), (lora, _) = play("dense", still), play("lora-experts", still, experts=3, rank=8)
    layers = [product for product in dense.works
              if product.part == Part.FC1 and product.expert is None]
    assert len(layers) == 2
    router = 2 * 17 * 32 * 3
    assert lora.macs - dense.macs == 2 * 2 * 17 * 8 * (32 + 64) + router


def test_sparse_experts_are_chosen_by_their_moments() -> None:
    """Not by their logits: expert 1, whose units are expected below 0 most surely, takes all."""
    record = experts([[[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]], 1)
    units = torch.tensor([[9, -9, 9, -9], [1, -1, -1, 1], [-1, 1, 2, -2], [3, 1, -4, 0]])
    weights = dict(record.weights)
    for index, shift in enumerate((0, -5, 5)):
        weights[Operator(Part.FC1, 1, index)] = (units + shift).to(torch.int8)
    record = replace(record, weights=weights)
    (frame,) = play("moe-x", record, k=1)
    assert frame.routed[1].tolist() == [0, 2, 0]
    (frame,) = play("moe-x", record, k=2)
    assert frame.routed[1].tolist() == [2, 2, 0]
    assert by_name(frame.works)["blocks.1.gate.0"].predictor_macs == 2 * 2 * 4 * 3


def test_a_dimension_that_a_token_does_not_use_is_neither_read_nor_written(live: Record) -> None:
    for frame in play("mohd", live, groups=4, shared=1, k=1):
        q, proj = by_name(frame.works)["blocks.0.q"], by_name(frame.works)["blocks.0.proj"]
        assert (q.events.sum(1) == 16).all()
        assert q.events[:, :8].all()
        assert (proj.computed == q.events).all()
        assert proj.macs == 17 * 16 * 32


def test_without_any_dimension_the_blocks_add_nothing(live: Record) -> None:
    """What is not made is 0, so the residual stream stays the embedding."""
    for moment, frame in zip(live.frames, play("mohd", live, groups=4, shared=0, k=0), strict=True):
        embedding = embed(Context(live.model), moment.pixels)
        assert frame.sqnr_db == pytest.approx(sqnr(embedding, moment.output))


def test_routed_heads_halve_queries_scores_and_outputs(live: Record) -> None:
    (frame, _), (dense, _) = play("jetmoe", live, k=1), play("dense", live)
    for part in (Part.Q, Part.SCORES, Part.VALUES, Part.PROJ):
        assert 2 * frame.works[Operator(part, 0)].macs == dense.works[Operator(part, 0)].macs
    keys = Operator(Part.K, 0)
    assert frame.works[keys].macs == dense.works[keys].macs


@pytest.mark.parametrize(("policy", "values", "count"), [
    ("thor", {}, 1), ("task-set", {"experts": 2}, 2), ("expert-pruning", {"experts": 3}, 3)])
def test_experts_that_a_frame_cannot_use_are_known_ahead(policy: str, values: dict,
                                                         count: int) -> None:
    """So that hardware never loads them; those that tokens merely did not choose may be."""
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(1))
    for frame in play(policy, experts(list(logits), 2), **values):
        assert frame.existing[1].sum() == count
        assert not frame.routed[1][~frame.existing[1]].any()
    for frame in play("top-k", experts(list(logits), 2), k=1):
        assert not frame.existing


@pytest.mark.parametrize(("policy", "values", "count"), [
    ("m-smoe", {"groups": 2}, 2), ("expert-averaging", {}, 1)])
def test_experts_that_became_one_are_one(live: Record, policy: str, values: dict,
                                         count: int) -> None:
    for frame in play(policy, live, **values):
        assert {int(mask.sum()) for mask in frame.existing.values()} == {count}
