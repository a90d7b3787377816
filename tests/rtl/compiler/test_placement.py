"""How layers and heads are spread over the lane groups."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl.compiler.layout import weight_tiles
from deltamoe.rtl.compiler.placement import Heads, Placement, pieces_of, place, sets_of

ZCU102 = PRESETS["zcu102"]


@pytest.mark.parametrize(("depth", "columns", "expected"), [
    (192, 192, Placement(3, 3, 1, 24, 24)),      # Q, K, V and projection of M3ViT-tiny
    (192, 768, Placement(12, 1, 1, 96, 96)),     # first dense layer
    (768, 192, Placement(3, 3, 1, 96, 96)),      # second, and the patches
    (192, 384, Placement(6, 2, 1, 48, 48)),      # an expert's first layer
    (384, 192, Placement(3, 3, 1, 48, 48)),      # and its second
    (192, 32, Placement(1, 3, 1, 24, 8)),        # a gate: three tokens at a time, half the lanes
])
def test_layers_of_tiny_waste_nothing(depth: int, columns: int, expected: Placement) -> None:
    """Cycles are the multiplications over the multipliers, where columns fill whole tiles."""
    placed = place(depth, columns, ZCU102)
    assert placed == expected
    tiles = -(-columns // ZCU102.lanes) * ZCU102.lanes
    assert placed.cycles == depth * tiles / ZCU102.mac_units
    fields = placed.fields(ZCU102)
    assert ZCU102.gangs[fields["span"]] == ZCU102.gangs[fields["gang"]] << fields["split"]


@pytest.mark.parametrize(("depth", "columns", "reads"), [
    (768, 192, 4), (384, 192, 4),         # gangs of 3: second layers, patches
    (192, 192, 1), (736, 192, 1),         # no multiple of four words
    (768, 768, 1), (768, 64, 1)])         # gangs of 12, of 1
def test_words_are_read_together_by_gangs_of_an_eighth(depth: int, columns: int, reads: int,
                                                       ) -> None:
    assert place(depth, columns, ZCU102).wide(depth, ZCU102) == (reads == ZCU102.read_words)
    assert place(depth, columns, ZCU102, sparse=True).wide(depth, ZCU102) == (reads > 1)


@pytest.mark.parametrize(("changes", "message"), [
    ({"read_words": 3}, "read_words=3 is not 1, 2 or 4"),
    ({"groups": 20}, "read_words=4 needs groups=20 to be a multiple of 8"),
    ({"act_words": 8190}, "act_words=8190 is not a multiple of 4 above 4"),
    ({"act_words": 4}, "act_words=4 is not a multiple of 4 above 4"),
    ({"residual_words": 2}, "residual_words=2 is not a multiple of 2 above 2")])
def test_what_cannot_be_read_together_is_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        replace(ZCU102, **changes)


def test_rows_of_weights_follow_the_words_that_are_read_together(seed: int) -> None:
    """Row ``k * n + j`` of part ``q * 4 + b``: element ``q * n + j`` of word ``4 * k + b``."""
    hw, split, depth = ZCU102, 3, 8 * ZCU102.word
    weight = np.random.default_rng(seed).integers(-127, 128, (3 * hw.lanes, depth))
    size = 4 * hw.word >> split
    tiles = weight_tiles(weight, hw, 3, split, 4).view(np.int8).reshape(8, 3, 2, size, hw.lanes)
    for part in range(8):
        for k in range(2):
            first = (4 * k + part % 4) * hw.word + part // 4 * size
            for tile in range(3):
                expected = weight[tile * hw.lanes :][: hw.lanes, first : first + size].T
                np.testing.assert_array_equal(tiles[part, tile, k], expected)


@pytest.mark.parametrize(("heads", "tokens", "head_dim", "expected"), [
    (3, 129, 64, (3, 0, 0, 0)),   # 3 tiles of 64 keys and 1 of values: 321 rows
    (6, 129, 64, (6, 0, 0, 0)), (1, 256, 64, (1, 0, 0, 0)), (5, 37, 64, (1, 0, 0, 0)),
    (5, 129, 64, (1, 2, 0, 0)),   # sets of all groups leave none idle
    (4, 256, 128, (4, 1, 1, 1)),  # 2 and 2 tiles of two groups: 512 rows
    (6, 257, 64, (6, 1, 0, 0)),   # half of 5 tiles of 64 and of 9 words of 32: 304 rows
    (3, 577, 64, (3, 2, 1, 0)),   # half of 5 pairs of tiles of 64, a quarter of 19 words of 32
    (12, 197, 64, (12, 0, 0, 0)),
])
def test_heads_share_the_groups(heads: int, tokens: int, head_dim: int,
                                expected: tuple[int, ...]) -> None:
    """As few groups idle as fit, as few heads in a set, and as few groups that share tiles."""
    assert sets_of(heads, tokens, head_dim, ZCU102) == expected
    assert -(-heads // expected[0]) * sum(
        Heads(*expected).rows(tokens, head_dim, ZCU102)) <= ZCU102.kv_rows


@pytest.mark.parametrize(("tokens", "spread", "alone"), [
    (129, 0, True), (129, 1, True), (129, 2, False), (257, 2, True), (128, 0, False),
    (130, 0, False), (1, 0, False), (65, 0, True), (197, 0, False)])
def test_a_key_that_is_alone_takes_no_pass(tokens: int, spread: int, alone: bool) -> None:
    """It costs a row of scores the cycles of all but its tile."""
    hw, heads = replace(ZCU102, last_key=True), Heads(3, 2, spread, 0)
    assert heads.last_key(tokens, hw) == alone
    assert not heads.last_key(tokens, ZCU102)
    saved = heads.cycles(tokens, 64, ZCU102) - heads.cycles(tokens, 64, hw)
    assert saved == pytest.approx(alone * (64 << spread) / hw.groups)


def test_ulx3s_holds_no_key_twice() -> None:
    hw = PRESETS["ulx3s"]
    assert sets_of(3, 129, 64, hw) == (3, 2, 2, 2)
    assert sets_of(3, 129, 64, hw).rows(129, 64, hw) == (5 * 64, 2 * 129)


@pytest.mark.parametrize(("depth", "columns", "width"), [(192, 768, 48), (192, 192, 48),
                                                         (768, 192, 24), (192, 384, 48)])
def test_large_layers_are_cut_and_lose_nothing(depth: int, columns: int, width: int) -> None:
    """Pieces cover every column once, and take the cycles that the multipliers need."""
    hw = PRESETS["ulx3s"]
    pieces = pieces_of(depth, columns, hw)
    assert [column for piece in pieces for column in piece] == list(range(columns))
    assert {len(piece) for piece in pieces} == {width}
    assert sum(place(depth, len(piece), hw).cycles for piece in pieces) == (
        depth * columns / hw.mac_units)
    assert pieces_of(depth, columns, ZCU102) == [range(columns)]


def test_a_piece_may_be_shorter() -> None:
    pieces = pieces_of(192, 200, PRESETS["ulx3s"])
    assert [column for piece in pieces for column in piece] == list(range(200))
    assert len(pieces[-1]) < len(pieces[0])


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="weight_rows, the hardware has 512"):
        place(1024, 64 * 24 * 24, ZCU102)
    with pytest.raises(ValueError, match="1024 kv_rows, the hardware has 512"):
        sets_of(1, 256, 1024, ZCU102)
