"""Items of attention."""

from dataclasses import replace

import pytest

from deltamoe.rtl.linear.attention_items import AttentionItems
from deltamoe.rtl.program import Attention, Source
from tests.support.bench import simulate
from tests.support.cases import HW, P
from tests.support.items import items_of, leaders


@pytest.mark.parametrize("ready_every", [1, 3])
@pytest.mark.parametrize(("tokens", "heads", "spread", "split", "last_key"), [
    (1, 1, 0, 0, 0), (9, 2, 0, 0, 0), (17, 3, 1, 0, 0), (27, 2, 1, 0, 0), (30, 1, 2, 0, 0),
    (9, 2, 0, 1, 0), (27, 2, 1, 1, 0), (30, 1, 0, 2, 0), (18, 2, 2, 0, 0),
    (9, 2, 0, 0, 1), (25, 5, 0, 0, 1), (17, 3, 1, 0, 1), (25, 5, 0, 1, 1)])
def test_attention_items(tokens: int, heads: int, spread: int, split: int, last_key: int,
                         ready_every: int) -> None:
    """With a spread, an item takes as many tiles at a time; with a split, fewer rows.

    Where values are spread less than keys, their sums are split more. A last key may be one more
    column of the pass before its own, which has its rows in the memory all the same.
    """
    dim, lag, stride = 12, HW.attention_lag, 20
    set_size, value_spread = max(tokens % 2 + 1, spread + split), spread * (heads != 2)
    sets = HW.groups // HW.gangs[set_size]
    operator = Attention(
        rows=tokens, heads=heads, head_dim=dim, head_words=dim // P, source_base=2,
        source_stride=stride, dest_base=300, dest_stride=stride + 1, key_base=7, value_base=400,
        param_base=30, set_size=set_size, spread=spread, head_split=split,
        value_spread=value_spread, last_key=bool(last_key))
    rows = [(token, head) for token in range(tokens) for head in range(heads)]

    def tiles(number: int, is_values: bool) -> list[tuple]:
        token, head = rows[number]
        depth, elements = (tokens, dim) if is_values else (dim, tokens)
        own = value_spread if is_values else spread
        wide, parts = HW.lanes << own, spread + split - own
        if parts:
            depth = -(-depth // P) * (P >> parts)
        per_head, extra = -(-elements // wide), 0 if is_values else last_key
        passes = per_head - extra
        address, to = (token * words + head * (dim // P) for words in (stride, stride + 1))
        return [(Source.PROBABILITIES if is_values else Source.ACT,
                 number % (lag + 1) * HW.row_words if is_values else 2 + address,
                 (400 if is_values else 7) + (head // sets * per_head + tile) * depth,
                 number + 1 if is_values else 0,
                 elements - tile * wide if tile == passes - 1 else wide,
                 extra * (tile == passes - 1),
                 300 + to + (2 << own) * tile if is_values else None, 30 + head,
                 number % (lag + 1), leaders(
                     1 << spread + split, head % sets * HW.gangs[set_size],
                     (head % sets + 1) * HW.gangs[set_size]),
                 (2 << spread + split) >= HW.gangs[set_size],
                 is_values and head == heads - 1 and tile == passes - 1,
                 HW.gangs.index(1 << own), parts, HW.gangs.index(1 << spread + split))
                for tile in range(passes)]

    order = []
    for number in range(len(rows) + lag):
        order += tiles(number, False) if number < len(rows) else []
        order += tiles(number - lag, True) if 0 <= number - lag < len(rows) else []
    dut = AttentionItems(replace(HW, last_key=True) if last_key else HW)

    async def bench(ctx):
        got = await items_of(ctx, dut, len(order), operator, ready_every)
        for item, (source, address, row, need, columns, extra, to, param, slot, leads, few, last,
                   *groups) in zip(got, order, strict=True):
            assert item.get("extra", 0) == extra
            assert item["to_words"] == -(-columns // P)
            assert [item["to_gang"], item["to_split"], item["to_span"]] == groups
            assert (item["source"], item["address"], item["row"], item["need"],
                    item["columns"], item["to_param"], item["to_slot"], item["leads"],
                    item["few"]) == (
                source, address, row, need, columns, param, slot, leads, few)
            assert to is None or item["to_last"] == last
            assert to is None or item["to_address"] == to
        assert [item["to_final"] for item in got] == [0] * (len(got) - 1) + [1]

    simulate(dut, bench)
