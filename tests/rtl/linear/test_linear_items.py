"""Items of linear layers."""

import pytest

from deltamoe.rtl.linear.item_generator import ItemGenerator
from deltamoe.rtl.linear.linear_items import LinearItems
from deltamoe.rtl.program import Dest, Linear, Mode, Source
from tests.support.bench import simulate
from tests.support.cases import HW, P
from tests.support.items import QUEUE, TOKENS, items_of, leaders


@pytest.mark.parametrize("ready_every", [1, 2, 3])
@pytest.mark.parametrize(("gather", "scatter"), [(0, 0), (1, 0), (0, 1)])
@pytest.mark.parametrize("gang", range(len(HW.gangs)))
@pytest.mark.parametrize("unit", [LinearItems, ItemGenerator])
def test_linear_items(unit, gang: int, gather: int, scatter: int, ready_every: int) -> None:
    rows, words, depth, width = 4, 7, 10, 2 * HW.gangs[gang]
    split = 1 if HW.gangs[gang] < HW.groups else 0
    span = HW.gangs.index(HW.gangs[gang] << split)
    whole = unit is ItemGenerator
    layer = Linear(
        source=Source.NORMED, dest=Dest.COMBINE, norm=True, gang=gang, split=split, span=span,
        queue=QUEUE, shift=2, bank=1, mode=Mode.ZERO_SKIP, zero_point=200, gather=bool(gather),
        scatter=bool(scatter), rows=rows, depth=depth, columns=words * P, weight_base=50,
        param_base=20, source_base=3, source_stride=11, dest_base=5, dest_stride=13)
    expected, state, routed = [], 0, gather or scatter
    for row in range(rows):
        place = 3 * row + 1 if routed else row
        for number, column in enumerate(range(0, words, width)):
            count = min(width, words - column)
            source, dest = (TOKENS[row] if used else row for used in (gather, scatter))
            expected.append({
                "source": Source.NORMED, "address": 3 + 11 * source, "words": 3, "tail": 2,
                "operand_signed": 0, "row": 50 + (3 * P >> split) * number, "kv": 0, "norm": 1,
                "need": row + 1, "columns": count * P, "leads": leaders(HW.gangs[span]),
                "few": int(2 * HW.gangs[span] >= HW.groups),
                "reference": 200 * whole, "dense": 0, "updates": 0, "theta": 0,
                "tracks": int(not whole and (not routed or row % 2)),
                "silent": 0, "probe": 0, "reference_address": 11 * place,
                "to_accumulates": 0, "to_stores": 0,
                "to_state": 13 * place + column if routed else state,
                "to_leader": 0, "to_span": span, "to_gang": gang, "to_split": split,
                "to_op": 5 * whole, "to_shift": 2 * whole, "to_bank": int(whole),
                "to_words": count, "to_count": P,
                "to_dest": Dest.COMBINE, "to_address": 5 + 13 * dest + column,
                "to_param": 20 + column, "to_advance": 1, "to_normalize": 0, "to_slot": 0,
                "to_weight": 1000 + row, "to_first": column == 0,
                "to_last": column + count == words, "to_flush": row == rows - 1,
                "to_final": row == rows - 1 and column + count == words})
            state += count
    dut = unit(HW)

    async def bench(ctx):
        ctx.set(dut.rows, rows)
        if whole:
            ctx.set(dut.op, 5)
        assert await items_of(ctx, dut, len(expected), layer, ready_every) == expected

    simulate(dut, bench)


@pytest.mark.parametrize(("fields", "expected"), [
    ({"mode": Mode.DENSE}, {"dense": 1}),
    ({"mode": Mode.DENSE, "stores": 1, "scatter": 1},
     {"dense": 1, "to_stores": 1, "to_state": 70 + 13 * 7, "reference_address": 40 + 11 * 7}),
    ({"mode": Mode.DELTA, "scatter": 1, "theta": 3},
     {"tracks": 1, "updates": 1, "theta": 3, "to_accumulates": 1, "to_stores": 1,
      "to_state": 70 + 13 * 7, "reference_address": 40 + 11 * 7}),
    ({"mode": Mode.DELTA, "gather": 1, "theta": 3},
     {"dense": 1, "updates": 1, "theta": 3, "to_stores": 1, "to_state": 70 + 13 * 7,
      "reference_address": 40 + 11 * 7}),
    ({"mode": Mode.DELTA, "theta": 3}, {"tracks": 1, "updates": 1, "theta": 3,
                                        "to_accumulates": 1, "to_stores": 1}),
    ({"mode": Mode.DELTA, "theta": 3, "keeps": 1}, {"tracks": 1, "theta": 3,
                                                    "to_accumulates": 1, "to_stores": 1}),
    ({"mode": Mode.DELTA, "theta": 3, "fresh": 1}, {"dense": 1, "updates": 1, "theta": 3,
                                                    "to_stores": 1}),
    ({"mode": Mode.REPLAY, "theta": 3}, {"silent": 1, "to_accumulates": 1, "words": 1}),
])
def test_items_of_what_is_kept(fields, expected) -> None:
    """Comparison, and what happens to the sums, by mode; a layer of two passes moves it once."""
    dut = ItemGenerator(HW)
    columns, known = 2 * HW.lanes, fields.get("scatter", 0)
    layer = Linear(source=Source.ACT, rows=1, depth=2 * P, columns=columns, source_base=6,
                   source_stride=11, dest_stride=13, state_base=70, reference_base=40, queue=QUEUE,
                   **fields)
    zero = dict.fromkeys(("dense", "tracks", "updates", "theta", "silent", "probe",
                          "to_accumulates", "to_stores"), 0)
    expected = zero | {"words": 2, "to_state": 70, "reference_address": 40} | expected

    async def bench(ctx):
        ctx.set(dut.rows, 1)
        first, last = await items_of(ctx, dut, 2, layer, 1, {"place": 7, "known": known})
        assert {name: last[name] for name in expected} == expected | {
            "to_state": expected["to_state"] + 2}
        assert {name: first[name] for name in expected} == expected | {"updates": 0}

    simulate(dut, bench)
