"""From a descriptor to events in the right queue: items, operand source, worker."""

from itertools import pairwise

import numpy as np
import pytest
from amaranth import Value

from deltamoe.boards import PRESETS
from deltamoe.rtl import formats
from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.linear.attention_items import AttentionItems
from deltamoe.rtl.linear.item_generator import ItemGenerator
from deltamoe.rtl.linear.linear_items import LinearItems
from deltamoe.rtl.linear.operand_source import OperandSource
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.program import Attention, Dest, Linear, Mode, Source
from tests.support.bench import put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import TOGETHER

HW = PRESETS["nano"]
P = HW.word
TOKENS = [9, 2, 30, 4]
QUEUE = 3


def leaders(span: int, first: int = 0, end: int = HW.groups) -> int:
    """Return the mask of the groups from ``first`` to ``end`` that a span may begin at."""
    return sum(1 << n for n in range(first, end, span))


def read(ctx, view) -> dict:
    """Return the scalar fields of a struct."""
    return {name: ctx.get(Value.cast(view[name])) for name in view.shape().members
            if name != "drained"}


async def items_of(ctx, dut, count: int, operator, ready_every: int,
                   entry: dict[str, int] | None = None) -> list[dict]:
    """Collect ``count`` items; the first must come ItemGenerator.LATENCY cycles after start.

    What the expert's queue ``QUEUE`` holds follows from the position unless ``entry`` says
    otherwise; it is known to be the next only in the cycle before.
    """
    got, cycle, first, asks = [], -1, None, hasattr(dut, "queue")
    while len(got) < count:
        ctx.set(dut.operator.start, cycle == 0)
        if cycle == 0:
            put(ctx, dut.operator.descriptor, encoded(operator))
        if asks:
            ctx.set(dut.upcoming, QUEUE if cycle < 0 else QUEUE + 1)
        ctx.set(dut.o.ready, cycle % ready_every == 0)
        if ctx.get(dut.o.valid):
            first = cycle if first is None else first
            if cycle % ready_every == 0:
                got.append(read(ctx, dut.o.p) | {
                    f"to_{k}": v for k, v in read(ctx, dut.o.p.drained).items()})
        queue, index = divmod(ctx.get(dut.queue.address), HW.max_tokens) if asks else (0, 0)
        await ctx.tick()
        if asks:
            held = {"token": TOKENS[index % len(TOKENS)], "weight": 1000 + index,
                    "place": 3 * index + 1, "known": index % 2} | (entry or {})
            for name, value in held.items():
                ctx.set(dut.queue.data[name], value if queue == QUEUE else 1)
        cycle += 1
        assert cycle < 2000
    assert first == ItemGenerator.LATENCY
    if ready_every <= 2:
        assert cycle - ready_every <= first + 2 * (count - 1), "an item every two cycles"
    for _ in range(20):
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.o.valid), "an item too many"
    return got


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


@pytest.mark.parametrize("ready_every", [1, 3])
@pytest.mark.parametrize(("tokens", "heads", "spread", "split"), [
    (1, 1, 0, 0), (9, 2, 0, 0), (17, 3, 1, 0), (27, 2, 1, 0), (30, 1, 2, 0),
    (9, 2, 0, 1), (27, 2, 1, 1), (30, 1, 0, 2), (18, 2, 2, 0)])
def test_attention_items(tokens: int, heads: int, spread: int, split: int,
                         ready_every: int) -> None:
    """With a spread, an item takes as many tiles at a time; with a split, fewer rows.

    Where values are spread less than keys, their sums are split more.
    """
    dim, lag, stride = 12, HW.attention_lag, 20
    set_size, value_spread = max(tokens % 2 + 1, spread + split), spread * (heads != 2)
    sets = HW.groups // HW.gangs[set_size]
    operator = Attention(
        rows=tokens, heads=heads, head_dim=dim, head_words=dim // P, source_base=2,
        source_stride=stride, dest_base=300, dest_stride=stride + 1, key_base=7, value_base=400,
        param_base=30, set_size=set_size, spread=spread, head_split=split,
        value_spread=value_spread)
    rows = [(token, head) for token in range(tokens) for head in range(heads)]

    def tiles(number: int, is_values: bool) -> list[tuple]:
        token, head = rows[number]
        depth, elements = (tokens, dim) if is_values else (dim, tokens)
        own = value_spread if is_values else spread
        wide, parts = HW.lanes << own, spread + split - own
        if parts:
            depth = -(-depth // P) * (P >> parts)
        per_head = -(-elements // wide)
        address, to = (token * words + head * (dim // P) for words in (stride, stride + 1))
        return [(Source.PROBABILITIES if is_values else Source.ACT,
                 number % (lag + 1) * HW.row_words if is_values else 2 + address,
                 (400 if is_values else 7) + (head // sets * per_head + tile) * depth,
                 number + 1 if is_values else 0, min(wide, elements - tile * wide),
                 300 + to + (2 << own) * tile if is_values else None, 30 + head,
                 number % (lag + 1), leaders(
                     1 << spread + split, head % sets * HW.gangs[set_size],
                     (head % sets + 1) * HW.gangs[set_size]),
                 (2 << spread + split) >= HW.gangs[set_size],
                 is_values and head == heads - 1 and tile == per_head - 1,
                 HW.gangs.index(1 << own), parts, HW.gangs.index(1 << spread + split))
                for tile in range(per_head)]

    order = []
    for number in range(len(rows) + lag):
        order += tiles(number, False) if number < len(rows) else []
        order += tiles(number - lag, True) if 0 <= number - lag < len(rows) else []
    dut = AttentionItems(HW)

    async def bench(ctx):
        got = await items_of(ctx, dut, len(order), operator, ready_every)
        for item, (source, address, row, need, columns, to, param, slot, leads, few, last,
                   *groups) in zip(got, order, strict=True):
            assert [item["to_gang"], item["to_split"], item["to_span"]] == groups
            assert (item["source"], item["address"], item["row"], item["need"],
                    item["columns"], item["to_param"], item["to_slot"], item["leads"],
                    item["few"]) == (
                source, address, row, need, columns, param, slot, leads, few)
            assert to is None or item["to_last"] == last
            assert to is None or item["to_address"] == to
        assert [item["to_final"] for item in got] == [0] * (len(got) - 1) + [1]

    simulate(dut, bench)


@pytest.mark.parametrize("wide", [0, 1])
def test_words_are_read_together(wide: int, seed: int) -> None:
    """From the descriptor to the encoder: reads of four words, or of one."""
    rng = np.random.default_rng(seed)
    hw, rows, reads, p = TOGETHER, 3, 2, TOGETHER.word
    size, words = hw.read_words if wide else 1, reads * hw.read_words
    memory, other = rng.integers(0, 256, (2, 64, p))
    items, dut = ItemGenerator(hw), OperandSource(hw)
    made = []

    async def issue(ctx):
        layer = Linear(
            source=Source.ACT, rows=rows, depth=words * p, columns=2 * p, wide=bool(wide), split=3,
            span=len(hw.gangs) - 1, weight_base=7, source_base=8, source_stride=16)
        ctx.set(items.rows, rows)
        made.extend(await items_of(ctx, items, rows, layer, 1))

    async def bench(ctx):
        for number, given in enumerate(made):
            assert (given["words"], given["wide"]) == (words // size, wide)
            assert (given["address"], given["row"]) == (8 + 16 * number, 7)
            put(ctx, dut.i.payload, pack(formats.item(hw), {
                name: value for name, value in given.items() if not name.startswith("to_")}
                | {"drained": {"split": given["to_split"], "span": given["to_span"]}}))
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.drained.ready, 1)
            ctx.set(dut.o.ready, 1)
            await ctx.tick().repeat(OperandSource.HELD)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(OperandSource.CHOSEN - 1)
            seen = []
            for _ in range(words // size + OperandSource.LATENCY):
                address = ctx.get(dut.read.act.address)
                await ctx.tick()
                upper = int(rng.integers(2))
                ctx.set(dut.read.act.upper, upper)
                for n in range(p):
                    ctx.set(dut.read.act.data[n], int(memory[address % 64, n]))
                    for k in range(hw.read_words - 1):
                        for half, held in enumerate((other, memory)):
                            ctx.set(dut.read.act.beside[half ^ upper ^ 1][k][n],
                                    int(held[(address + k + 1) % 64, n]))
                if ctx.get(dut.o.valid):
                    sent = dut.o.p
                    beside = sent.beside[ctx.get(sent.upper)]
                    seen.append((ctx.get(sent.row), ctx.get(sent.wide), [
                        [ctx.get(word[n]) % 256 for n in range(p)] for word in (
                            sent.operand, *(beside[k] for k in range(size - 1)))]))
            first = 8 + 16 * number
            assert seen == [(7 + read * size * p // 8, wide,
                             memory[first + read * size :][:size].tolist())
                            for read in range(words // size)]

    simulate(items, issue)
    simulate(dut, bench)


def test_operand_source_waits_and_chooses(seed: int) -> None:
    """Needs first, then the lowest free queue; a row is read word by word, signed as asked."""
    rng = np.random.default_rng(seed)
    dut, memory = OperandSource(HW), rng.integers(0, 256, (64, P))
    layout = formats.item(HW)

    async def bench(ctx):
        async def offer(**fields) -> None:
            put(ctx, dut.i.payload, pack(layout, {"source": Source.ACT, "words": 3, "tail": 2,
                                                  "columns": 8, **fields}))
            ctx.set(dut.i.valid, 1)

        async def assigned(**fields) -> int:
            """Offer an item for one choice; return the leader that takes it, one-hot, or 0."""
            await offer(**fields)
            await ctx.tick().repeat(OperandSource.HELD)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(OperandSource.CHOSEN - 1)
            full, met = ctx.get(dut.counts.source_full), not ctx.get(dut.counts.source_needs)
            accepted = ctx.get(dut.queues.accept)
            assert (accepted != 0) == ctx.get(dut.drained.valid)
            assert not ctx.get(dut.drained.ready) or full == (met and not accepted)
            assert not accepted or 1 << ctx.get(dut.drained.p.leader) == accepted
            if not accepted:
                await leave()
            await ctx.tick()
            while ctx.get(dut.counts.source_busy):
                await ctx.tick()
            return accepted

        async def leave() -> None:
            """Let the item that is held go, while one waits at the last group."""
            held = [(port, ctx.get(port)) for port in (
                *dut.queues.waiting, dut.rows.released, dut.rows.probabilities, dut.drained.ready)]
            for (port, _), value in zip(held, (0, 0, 0, 1, 1, 9, 1), strict=True):
                ctx.set(port, value)
            await ctx.tick()
            if not ctx.get(dut.drained.valid):
                await ctx.tick().repeat(OperandSource.CHOSEN - 1)
            assert ctx.get(dut.drained.valid)
            for port, value in held:
                ctx.set(port, value)

        async def step():
            address = ctx.get(dut.read.act.address)
            await ctx.tick()
            for n in range(P):
                ctx.set(dut.read.act.data[n], int(memory[address % 64, n]))

        ctx.set(dut.drained.ready, 1)
        ctx.set(dut.o.ready, 1)
        everywhere = {"leads": leaders(1)}
        await offer(address=10, need=2, norm=1, operand_signed=1, row=40, **everywhere,
                    drained={"split": 1})
        ctx.set(dut.rows.normed, 1)
        ctx.set(dut.rows.ready, 9)
        for worker, waiting in enumerate((1, 2, 0, 0)):
            ctx.set(dut.queues.waiting[worker], waiting)
        for cycle in range(OperandSource.HELD + OperandSource.CHOSEN):
            assert ctx.get(dut.i.ready) == (cycle == OperandSource.HELD)
            await step()
            ctx.set(dut.i.valid, cycle < OperandSource.HELD)
            assert not ctx.get(dut.drained.valid), "its row is not there"
        assert (ctx.get(dut.counts.source_needs), ctx.get(dut.counts.source_full)) == (1, 0)
        ctx.set(dut.rows.normed, 2)
        for _ in range(OperandSource.CHOSEN):
            assert not ctx.get(dut.drained.valid), "it is not chosen for"
            await step()
        assert ctx.get(dut.drained.valid)
        assert ctx.get(dut.queues.accept) == 1 << 2, "the lowest idle group"
        assert ctx.get(dut.drained.p.leader) == 2
        for _ in range(OperandSource.LATENCY):
            assert not ctx.get(dut.o.valid)
            await step()
        for word in range(3):
            assert ctx.get(dut.o.valid)
            signed = (memory[10 + word] + 128) % 256 - 128
            assert [ctx.get(dut.o.p.operand[n]) for n in range(P)] == signed.tolist()
            assert ctx.get(dut.o.p.row) == 40 + word * P // 2
            assert ctx.get(dut.o.p.last) == (word == 2)
            assert ctx.get(dut.o.p.count) == (2 if word == 2 else P)
            await step()
        assert not ctx.get(dut.o.valid)
        for waiting, span, first, end, few, accepted in (
                ((1, 1, 2, 0), 0, 0, 4, 0, 3), ((2, 1, 1, 2), 0, 0, 4, 0, 1),
                ((2, 2, 2, 2), 0, 0, 4, 0, None), ((2, 1, 0, 0), 1, 0, 4, 1, 2),
                ((2, 2, 2, 1), 1, 0, 4, 1, 0), ((3, 2, 2, 1), 1, 0, 4, 1, 2),
                ((3, 2, 0, 0), 2, 0, 4, 1, None), ((2, 2, 2, 2), 2, 0, 4, 1, 0),
                ((0, 0, 1, 2), 0, 2, 4, 1, 2), ((0, 0, 2, 1), 0, 2, 4, 1, 2),
                ((0, 0, 3, 2), 0, 2, 4, 1, 3), ((0, 0, 3, 3), 0, 2, 4, 1, None),
                ((0, 0, 2, 1), 0, 3, 4, 1, 3)):
            for group, value in enumerate(waiting):
                ctx.set(dut.queues.waiting[group], value)
            taken = await assigned(leads=leaders(HW.gangs[span], first, end), few=few,
                                   drained={"span": span})
            assert taken == (0 if accepted is None else 1 << accepted)
        half, third = HW.queue_words // 2, HW.queue_words // 3
        for words, waiting, found in ((half + 1, 1, 0), (half + 1, 0, 1), (half, 1, 1),
                                      (third + 1, 2, 0), (third + 1, 1, 1), (third, 2, 1)):
            for group in range(HW.groups):
                ctx.set(dut.queues.waiting[group], 0)
            assert await assigned(words=1, leads=0b10, few=1) == 2, "nothing waits"
            ctx.set(dut.queues.waiting[0], waiting)
            assert await assigned(words=words, leads=0b1, few=1) == found, "must fit the queue"
        for first, waiting, found in ((half + 1, 1, 0), (half, 1, 1), (half, 2, 0),
                                      (third + 1, 2, 0), (third, 2, 1), (third, 3, 0)):
            ctx.set(dut.queues.waiting[0], 0)
            assert await assigned(words=first, leads=0b1, few=1) == 1, "nothing waits"
            ctx.set(dut.queues.waiting[0], waiting)
            for _ in range(2):
                assert await assigned(words=1, leads=0b1, few=1) == found, (
                    "what is longer still waits")
                assert await assigned(words=1, leads=0b10, few=1) == 2, "elsewhere nothing waits"
        ctx.set(dut.queues.waiting[0], 0)
        for needed, released, probabilities, taken in ((3, 0, 3, 0), (3, 1, 2, 0), (3, 1, 3, 1)):
            ctx.set(dut.rows.released, released)
            ctx.set(dut.rows.probabilities, probabilities)
            assert (await assigned(source=Source.PROBABILITIES, need=needed, **everywhere)
                    != 0) == taken
        ctx.set(dut.drained.ready, 0)
        assert not await assigned(**everywhere), "its record has no room"

    simulate(dut, bench)


def test_items_are_read_one_behind_the_other(seed: int) -> None:
    """The next item is chosen for during the last read; one of a single word takes two cycles."""
    rng = np.random.default_rng(seed)
    dut, layout = OperandSource(HW), formats.item(HW)
    lengths = [3, 2, 1, 1, 4, *rng.integers(1, 6, 20).tolist()]

    async def bench(ctx):
        ctx.set(dut.drained.ready, 1)
        ctx.set(dut.o.ready, 1)
        taken, begun, reads, cycle = [], [], [], 0
        while len(begun) < len(lengths):
            ctx.set(dut.i.valid, len(taken) < len(lengths))
            put(ctx, dut.i.payload, pack(layout, {
                "source": Source.ACT, "address": 8 * len(taken), "words": [*lengths, 0][len(taken)],
                "tail": 1, "columns": 8, "leads": leaders(1)}))
            if ctx.get(dut.counts.source_busy):
                reads.append(ctx.get(dut.read.act.address))
            taken += [cycle] * ctx.get(dut.i.ready)
            begun += [cycle] * ctx.get(dut.drained.valid)
            await ctx.tick()
            cycle += 1
        assert begun[0] == OperandSource.HELD + OperandSource.CHOSEN
        assert taken == [OperandSource.HELD, *begun[:-1]], "the next is held as one is begun"
        assert [after - before for before, after in pairwise(begun)] == [
            max(words, OperandSource.SHORTEST) for words in lengths[:-1]]
        assert reads == [8 * number + word for number, words in enumerate(lengths)
                         for word in range(words)][: len(reads)]
        assert len(reads) == sum(lengths[:-1]) + 1

    simulate(dut, bench)


@pytest.mark.parametrize(("span", "few"), [(0, 0), (1, 1), (2, 1)])
def test_an_item_counts_from_the_cycle_in_which_it_is_assigned(span: int, few: int) -> None:
    """Items of one word: the next is chosen for before its groups tell that they have the last."""
    dut, layout, size = OperandSource(HW), formats.item(HW), HW.gangs[span]
    order = [leader for _ in range(2 + few) for leader in range(0, HW.groups, size)]
    if few and size < HW.groups:  # the first is preferred as long as it has room
        order = [0, 2, 0, 0, 2, 2]

    async def bench(ctx):
        ctx.set(dut.drained.ready, 1)
        ctx.set(dut.i.valid, 1)
        put(ctx, dut.i.payload, pack(layout, {
            "source": Source.ACT, "words": 1, "tail": 1, "leads": leaders(size), "few": few,
            "drained": {"span": span}}))
        waiting, chosen = [0] * HW.groups, []
        for _ in range(OperandSource.SHORTEST * (len(order) + 4)):
            accept = ctx.get(dut.queues.accept)
            if accept:
                chosen.append(accept.bit_length() - 1)
                for group in range(chosen[-1], chosen[-1] + size):
                    waiting[group] += 1
            await ctx.tick()
            for group, value in enumerate(waiting):
                ctx.set(dut.queues.waiting[group], value)
        assert chosen == order

    simulate(dut, bench)


def test_worker_goes_round_its_banks_and_waits_for_their_drain() -> None:
    """One item more than banks; runs of one event keep their distance."""
    dut, banks = Worker(HW), HW.banks
    masks = [0b1011, 0b1111, 0b1000, 0b0001, 0b0111][: banks + 1]

    async def bench(ctx):
        popped, flushes, complete, behind, last = [], [], [], [], []
        released = False
        for cycle in range(80):
            item = cycle
            if item < len(masks):
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": [1, 2, 3, 4], "mask": masks[item], "row": 10 * item, "last": 1,
                    "empty": not masks[item]}))
            ctx.set(dut.i.valid, item < len(masks))
            ctx.set(dut.accept, item < len(masks) and item < 2)
            if ctx.get(dut.o.valid):
                event = dut.o.p
                popped.append((ctx.get(event.row), ctx.get(event.delta), ctx.get(event.begin),
                               ctx.get(event.fresh), ctx.get(event.last), ctx.get(event.bank)))
                if ctx.get(event.flush):
                    flushes.append(cycle)
                if ctx.get(event.last):
                    last.append(cycle)
            if ctx.get(dut.oldest.summed) & 1 and len(complete) == released:
                complete.append(cycle + 1)
            if ctx.get(dut.oldest.summed) & 2 and not behind:
                behind.append(cycle + 1)
            if cycle == 40:
                assert len(last) == banks
                assert ctx.get(dut.blocked)
            ctx.set(dut.oldest.release, cycle == 50)
            released |= cycle == 50
            await ctx.tick()
        assert [complete[0], behind[0]] == [cycle - 1 + Worker.LATENCY for cycle in last[:2]], (
            "an event leaves a cycle after its pop")
        expected = []
        for item, mask in enumerate(masks):
            sent = [n for n in range(P) if mask >> n & 1]
            expected += [(10 * item + n, n + 1, n == sent[0], 1, n == sent[-1], item % banks)
                         for n in sent]
        assert popped == expected
        assert flushes == last
        assert [cycle - last[0] for cycle in last[:banks]] == [0, 4, 6, 8], "no cycle is lost"
        assert last[-1] == 50 + Worker.FREED + 3, "three events follow, through a register"

    simulate(dut, bench)


@pytest.mark.parametrize("count", [8, 9, 17, 24])
def test_worker_flushes_every_eight_events(count: int) -> None:
    dut = Worker(HW)

    async def bench(ctx):
        seen = []
        for cycle in range(60):
            first = cycle * P
            if first < count:
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": [1] * P, "mask": (1 << min(P, count - first)) - 1, "row": first,
                    "last": first + P >= count}))
            ctx.set(dut.i.valid, first < count)
            ctx.set(dut.accept, cycle == 0)
            if ctx.get(dut.o.valid):
                seen.append((cycle, ctx.get(dut.o.p.begin), ctx.get(dut.o.p.flush),
                             ctx.get(dut.o.p.fresh)))
            await ctx.tick()
        cycles, begins, flushes, fresh = zip(*seen, strict=True)
        assert list(begins) == [n % RUN == 0 for n in range(count)]
        assert list(flushes) == [n % RUN == RUN - 1 or n == count - 1 for n in range(count)]
        assert list(fresh) == [n < RUN for n in range(count)]
        assert cycles[-1] - cycles[0] == count - 1 + (count % RUN == 1)

    simulate(dut, bench)
