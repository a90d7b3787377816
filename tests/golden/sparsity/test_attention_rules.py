"""Attention: pairs that stay, against the papers' rules worked by hand."""

import pytest
import torch

from deltamoe.golden.config import MODELS
from deltamoe.golden.sparsity.generated import generated
from deltamoe.golden.sparsity.record import Record
from deltamoe.golden.sparsity.rules.attention import probabilities
from deltamoe.golden.sparsity.rules.attention_blocks import (
    FlexPrefill,
    blown,
    covering,
    diagonals,
    lines,
    root_divergence,
)
from deltamoe.golden.sparsity.rules.sparsifiner import TopPairs
from tests.golden.sparsity.support import attention, by_name, play

GENERATOR = torch.Generator().manual_seed(2)
NAME = "blocks.0.attention.scores"


def drawn(heads: int = 2, tokens: int = 32, width: int = 8) -> Record:
    q, k = (torch.randint(-60, 61, (heads, tokens, width), generator=GENERATOR) for _ in "qk")
    return attention(q, k)


def pairs(frame, heads: int = 2) -> torch.Tensor:
    computed = torch.from_numpy(by_name(frame.works)[NAME].computed)
    return computed.unflatten(0, (heads, -1))


def test_a_quarter_of_the_pairs_and_the_class_token() -> None:
    """Sparsifiner keeps 0.25 of the keys of each query, and the row of the class token."""
    record = drawn()
    (frame,), (dense,) = play("sparsifiner", record, density=0.25, rank=2), play("dense", record)
    kept = pairs(frame)
    assert (kept[:, 1:].sum(-1) == 8).all()
    assert kept[:, 0].all()
    share = (31 * 8 + 32) / 32**2
    for part in ("scores", "values"):
        name = f"blocks.0.attention.{part}"
        assert by_name(frame.works)[name].macs == share * by_name(dense.works)[name].macs
    filled = int((rule_of(record, rank=2).predictors[0].basis != 0).sum())
    scores = by_name(frame.works)[NAME]
    assert scores.predictor_macs == 2 * 2 * 32 * 2 * (8 + 4) + 32 * 4 * filled // 4
    assert scores.predictor_bytes == 2 * 8 * 2 + 32 * 4 + filled


def rule_of(record: Record, **parameters: int) -> TopPairs:
    """Return the rule behind one frame."""
    rule = TopPairs(record, 0.25, **{"block": 8, "top": 8} | parameters)
    (moment,) = record.frames
    rule.pairs(0, by_name(moment.operands)[NAME], moment.keys["blocks.0.attention"])
    return rule


def test_a_predictor_saves_48_to_69_percent_of_the_attention() -> None:
    """DeiT-S: 6 heads of 64 over 197 tokens, c / 2, n / 8, 0.25 of the keys; the paper's range."""
    record = drawn(6, 197, 64)
    (frame,), (dense,) = play("sparsifiner", record, rank=32), play("dense", record)
    assert 0.48 < 1 - frame.macs / dense.macs < 0.69


def test_what_is_expected_is_a_sum_of_few_patterns() -> None:
    """One block of keys that a query likes, of a basis without noise: those keys are found."""
    like = torch.eye(4, dtype=torch.int64).repeat_interleave(8, 0)
    record = attention(60 * like[None], 60 * like[None])
    (frame,) = play("sparsifiner", record, density=0.25, rank=4, top=1)
    kept = pairs(frame, 1)[0]
    assert torch.equal(kept[1:], (like @ like.T)[1:] > 0)
    for top in (1, 3):
        rule = rule_of(drawn(), rank=4, top=top)
        weight = rule.coefficients(0, *(torch.randn(2, 32, 8).double() for _ in "qk"),
                                   rule.predictors[0].directions)
        assert ((weight != 0).sum(-1) == top).all()


def test_a_predictor_of_all_tokens_finds_most_of_the_attention() -> None:
    record = drawn()
    rule = rule_of(record, rank=8, block=1, top=32)
    moment = record.frames[0]
    q, k = by_name(moment.operands)[NAME].double(), moment.keys["blocks.0.attention"].double()
    real = probabilities(q, k, None)
    kept = rule.pairs(0, q, k)
    best = real >= real.sort(-1, descending=True).values[..., 7:8]
    assert (real * kept)[:, 1:].sum() > 0.98 * (real * best)[:, 1:].sum()


def test_shards_cover_the_context_together() -> None:
    """S2: each of H heads sees 1 / H of the keys, all heads together every one."""
    (frame,) = play("s2", drawn(heads=2), block=4, local=0)
    kept = pairs(frame)
    far = kept[:, 31, 1:31]
    assert far.any(0).all()
    assert (far[0] != far[1]).all()
    assert kept[:, :, 0].all()


def test_the_smallest_set_with_a_share_of_the_mass() -> None:
    weight = torch.tensor([[0.5, 0.1, 0.3, 0.1], [0.25, 0.25, 0.25, 0.25]])
    assert covering(weight, 0.8).tolist() == [[True, False, True, False], [True, True, True, True]]
    assert covering(weight, 0.75)[1].sum() == 3
    assert covering(weight, 0.0).sum(-1).tolist() == [1, 1]


def test_lines_are_keys_and_distances() -> None:
    """The last two of four queries look at their own key, distance 0, and at key 1."""
    weight = torch.tensor([[0.0, 1.0, 5.0, 0.0], [0.0, 1.0, 0.0, 5.0]])
    by_distance = diagonals(weight)
    assert by_distance.tolist() == [0, 1, 1, 10, 0, 0, 0]
    pattern = lines(torch.tensor([False, True, False, False]), by_distance > 5)
    assert pattern.int().tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]


def test_vertical_keys_and_slashes_of_what_the_window_sees() -> None:
    """One key that all queries like: it stays, with the diagonal."""
    q = torch.ones(1, 16, 4, dtype=torch.int64)
    k = torch.zeros(1, 16, 4, dtype=torch.int64)
    k[0, 5] = 50
    (frame,) = play("vertical-slash", attention(q, k), vertical=1 / 16, slash=0.0, window=2)
    kept = pairs(frame, 1)[0]
    assert torch.equal(kept, torch.eye(16, dtype=torch.bool) | (torch.arange(16) == 5))
    assert by_name(frame.works)[NAME].predictor_macs == 2 * 16 * 4


def test_blocks_that_fit_are_kept_whole() -> None:
    q = torch.zeros(1, 8, 2, dtype=torch.int64)
    k = torch.zeros(1, 8, 2, dtype=torch.int64)
    q[0, :4, 0] = q[0, 4:, 1] = k[0, :4, 1] = k[0, 4:, 0] = 9
    (frame,) = play("block-sparse", attention(q, k), density=0.5, block=4)
    assert torch.equal(pairs(frame, 1)[0], blown(torch.tensor([[0, 1], [1, 0]]).bool(), 4, 8))
    assert 2 * by_name(frame.works)[NAME].macs == 8 * 8 * 2


def test_the_bound_of_a_page_is_never_below_a_score() -> None:
    """Quest: so the page of the best key stays if it alone reaches the bound."""
    q = torch.tensor([[[1, 1]]] * 1)
    k = torch.tensor([[[0, 0], [0, 0], [9, 9], [0, 0]]])
    (frame,) = play("quest", attention(q.expand(1, 4, 2), k), density=0.5, page=2)
    assert pairs(frame, 1)[0].tolist() == [[False, False, True, True]] * 4
    assert by_name(frame.works)[NAME].predictor_macs == 2 * 4 * 2 * 2


def test_heads_share_a_budget_if_it_adapts() -> None:
    """Ada-SnapKV: a head that looks at one key leaves its budget to one that looks at many."""
    q = torch.ones(2, 16, 4, dtype=torch.int64)
    k = torch.zeros(2, 16, 4, dtype=torch.int64)
    k[0, 3] = 40
    record = attention(q, k)
    (each,), (shared,) = (play("snap-kv", record, density=0.25, window=1, adaptive=value)
                          for value in (0, 1))
    assert pairs(each)[:, 0].sum(-1).tolist() == [4, 4]
    assert pairs(shared)[:, 0].sum(-1).sum() == 8
    assert pairs(shared)[0, 0].sum() < 4 < pairs(shared)[1, 0].sum()
    assert (pairs(shared)[:, :1] == pairs(shared)).all()


def test_flex_prefill_takes_lines_where_blocks_are_not_to_be_trusted() -> None:
    """tau decides: 1 is always blocks; 0 never."""
    record = drawn(tokens=32)
    (by_block,), (by_line,) = (play("flex-prefill", record, gamma=0.5, tau=tau, block=8)
                               for tau in (1.0, 0.0))
    tiles = pairs(by_block).unflatten(-1, (4, 8)).unflatten(-3, (4, 8)).transpose(-2, -3)
    assert all(tile.all() or not tile.any() for tile in tiles.flatten(0, 2))
    assert (torch.diagonal(pairs(by_line), dim1=-2, dim2=-1)).all()
    assert not torch.equal(pairs(by_block), pairs(by_line))


def test_flex_prefill_holds_its_share_of_the_whole_map(monkeypatch) -> None:
    """Two queries that attend with 0.3 and 0.7, and with 0.5 and 0.5, of 2 in all.

    0.34 of it is 0.68, which the one of 0.7 holds; query by query, the second would keep one too.
    The diagonal always stays.
    """
    monkeypatch.setattr(Record, "sharpness", lambda record, layer: torch.ones(1, 1, 1))
    gap = float(torch.tensor(0.7 / 0.3).log())
    q = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    k = torch.tensor([[[0.0, 0.0], [gap, 0.0]]])
    weight = probabilities(q, k, torch.ones(1, 1, 1))
    assert weight[0].tolist() == [pytest.approx([0.3, 0.7]), pytest.approx([0.5, 0.5])]
    rule = FlexPrefill(attention(q, k), 0.34, 1.0, 1, 0)
    assert rule.pairs(0, q, k)[0].tolist() == [[True, True], [False, True]]


def test_the_root_divergence() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert root_divergence(one, one) == 0
    assert root_divergence(one, other) == pytest.approx(torch.log(torch.tensor(2.0)).sqrt().item())


def test_tokens_that_left_stay_away(live: Record, still: Record) -> None:
    """17 tokens, 70 % a block: 12, 8, 6; the class token is always there. Also in a replay."""
    for frame in (*play("token-pruning", live, kept=0.7, first=1, every=1),
                  *play("token-pruning", still, kept=0.7, first=1, every=1)):
        works = by_name(frame.works)
        assert [works[f"blocks.{layer}.q"].rows for layer in range(4)] == [17, 12, 8, 6]
        assert works["blocks.2.attention.scores"].macs == 2 * 8 * 8 * 16
        assert works["blocks.3.gate.0"].rows == 6
        assert sum(frame.routed[3]) == 2 * 6


def test_every_third_block_drops_tokens_by_default() -> None:
    """EViT keeps 70 % at the fourth, seventh and tenth of 12 blocks: 129, 90, 63, 44."""
    record = generated(MODELS["m3vit-tiny-129"], frames=1)
    (frame,) = play("token-pruning", record)
    assert [by_name(frame.works)[f"blocks.{layer}.q"].rows for layer in range(12)] == [
        129, 129, 129, 90, 90, 90, 63, 63, 63, 44, 44, 44]


def test_a_window_sees_the_probabilities_of_the_network(live: Record) -> None:
    """Those of the integer softmax, of which 8 bits are left."""
    moment = live.frames[0]
    for layer in range(4):
        name = f"blocks.{layer}.attention"
        e = by_name(moment.operands)[f"{name}.values"].double()
        real = probabilities(by_name(moment.operands)[f"{name}.scores"], moment.keys[name],
                             live.sharpness(layer))
        assert (real - e / e.sum(-1, keepdim=True)).abs().max() < 0.01
