"""Descriptors: checked, walked, executed; and the beats that loads place."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.golden.library import find
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.checks.descriptor import Checks, quotient
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.formats import TRANSFER
from deltamoe.rtl.memory.loader import Loader
from deltamoe.rtl.program import (
    DESCRIPTOR_BYTES,
    Attention,
    Descriptor,
    Dest,
    ErrorCode,
    Halt,
    Linear,
    Load,
    Mode,
    Operator,
    Source,
    Store,
    Target,
)
from tests.support.bench import get, put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import TOGETHER

HW = PRESETS["nano"]


async def judged(ctx, dut: Checks, descriptor: Descriptor) -> list[bool]:
    """Return whether fields, address and each range are valid."""
    put(ctx, dut.descriptor, encoded(descriptor))
    for step in range(dut.LATENCY + dut.steps):
        ctx.set(dut.step, step)
        if step == dut.LATENCY:
            found = [ctx.get(dut.field_valid), ctx.get(dut.address_valid)]
        if step >= dut.LATENCY:
            found.append(ctx.get(dut.range_valid))
        await ctx.tick()
    return found


def test_checks_accept_every_compiled_descriptor_and_no_smaller_memory() -> None:
    """A compiled program passes; with one byte less of memory its last transfer does not."""
    program = compile_program(find("digits").quantized, HW)
    store = next(d for d in program.descriptors if isinstance(d, Store))

    async def bench(ctx):
        ctx.set(dut.memory_size, program.size)
        for descriptor in program.descriptors:
            if isinstance(descriptor, Load) != dut.loads:
                continue
            assert all(await judged(ctx, dut, descriptor)), descriptor
        ctx.set(dut.memory_size, program.size - 1)
        assert not (await judged(ctx, dut, store))[1]

    for loads in (True, False):
        dut = Checks(HW, loads=loads)
        simulate(dut, bench)


LINEAR = Linear(rows=3, depth=8, columns=16, passes=2, source=Source.NORMED, source_stride=2,
                dest_stride=4)


@pytest.mark.parametrize(("field", "limit"), [
    ("weight_base", HW.weight_rows - 16), ("param_base", HW.param_words - 4),
    ("source_base", HW.normed_words - 6), ("dest_base", HW.act_words - 12)])
def test_ranges_end_exactly_at_the_memory(field: str, limit: int) -> None:
    dut = Checks(HW, loads=False)

    async def bench(ctx):
        for value, valid in ((limit + 1, False), (limit, True)):
            found = await judged(ctx, dut, replace(LINEAR, **{field: value}))
            assert found.count(False) == (not valid), (value, found)

    simulate(dut, bench)


WIDE = Linear(rows=3, depth=32, columns=8, source=Source.ACT, source_base=4, source_stride=8,
              split=2, span=2, wide=True)


@pytest.mark.parametrize("wrong", [
    {}, {"split": 3, "span": 3}, {"mode": Mode.ZERO_SKIP}, {"gather": 1},
    {"source": Source.NORMED}, {"source": Source.REFERENCE}, {"mode": Mode.DELTA},
    {"mode": Mode.REPLAY}, {"gang": 1, "span": 3}, {"split": 1, "span": 1}, {"depth": 24},
    {"depth": 31}, {"source_base": 6}, {"source_stride": 9}])
def test_words_are_read_together_only_where_they_can_be(wrong: dict) -> None:
    """Whole rows of four words of activations, for gangs of one of eight groups."""
    right = wrong in ({}, {"split": 3, "span": 3}, {"mode": Mode.ZERO_SKIP}, {"gather": 1})

    def bench(dut, *, together: bool):
        async def run(ctx):
            assert (await judged(ctx, dut, replace(WIDE, **wrong)))[0] == (right and together)
            assert (await judged(ctx, dut, replace(WIDE, **wrong, wide=False)))[0]
        return run

    for hw in (TOGETHER, replace(TOGETHER, read_words=1)):
        dut = Checks(hw, loads=False)
        simulate(dut, bench(dut, together=hw.read_words > 1))


@pytest.mark.parametrize(("given", "valid"), [
    (Linear(dest=Dest.GATE, num_experts=2, top_k=1, columns=4), True),
    (Linear(dest=Dest.CHANGED), True), (Linear(), False)])
def test_rows_of_queued_tokens_are_bounded_apart(given: Linear, valid: bool) -> None:
    """A gate and a probe have no more rows than a queue has entries; others have more."""
    hw = replace(HW, queued_tokens=8)
    dut = Checks(hw, loads=False)

    async def bench(ctx):
        for rows, fits in ((8, True), (9, not valid)):
            found = await judged(ctx, dut, replace(
                LINEAR, **{name: value for name, value in vars(given).items()
                           if name in ("dest", "num_experts", "top_k", "columns") and value},
                rows=rows))
            assert found[0] == fits, (rows, found)

    simulate(dut, bench)


@pytest.mark.parametrize(("fields", "valid"), [
    ({"set_size": 2, "spread": 1, "head_split": 1}, True),
    ({"set_size": 2, "spread": 0, "head_split": 2, "value_spread": 2}, True),
    ({"set_size": 1, "spread": 1, "head_split": 1}, False),
    ({"set_size": 2, "spread": 0, "head_split": 3}, False),
    ({"set_size": 2, "spread": 1, "head_split": 1, "value_spread": 3}, False)])
def test_groups_are_shared_out_within_a_set(fields: dict, valid: bool) -> None:
    """Four groups are two gangs of two, or four parts; not eight, nor are two groups four."""
    dut = Checks(HW, loads=False)

    async def bench(ctx):
        assert (await judged(ctx, dut, replace(ATTENTION, **{"value_spread": 0} | fields)))[
            0] == valid

    simulate(dut, bench)


@pytest.mark.parametrize("divisor", [1, 2, 3, 6, 12, 20, 24, 28, 31])
def test_quotient_is_rounded_up(divisor: int) -> None:
    for value in range(256):
        assert quotient(value, divisor) == -(-value // divisor)


ATTENTION = Attention(rows=5, head_dim=8, heads=5, head_words=2, set_size=1, spread=1,
                      value_spread=1, source_stride=10, dest_stride=9)
SPLIT = replace(ATTENTION, spread=0, head_split=1, value_spread=0)
KEYS = replace(LINEAR, dest=Dest.KEY, columns=60, heads=3, head_words=5, set_size=1, spread=1,
               key_gap=4)


@pytest.mark.parametrize(("given", "field", "limit"), [
    # 5 heads in 2 sets of 2 groups: 3 a set, each 8 rows of keys, 5 of values
    (ATTENTION, "key_base", HW.kv_rows - 3 * 8), (ATTENTION, "value_base", HW.kv_rows - 3 * 5),
    (ATTENTION, "source_base", HW.act_words - 10 - 4 * 10),
    (ATTENTION, "dest_base", HW.act_words - 10 - 4 * 9),
    (ATTENTION, "param_base", HW.param_words - 5),
    # 3 heads in 2 sets: 2 a set, of 20 columns, 4 apart
    (KEYS, "dest_base", HW.kv_rows - 2 * 20 - 2 * 4),
    # half a sum: of 8 elements 2 words of 2, of 5 the same
    (SPLIT, "key_base", HW.kv_rows - 3 * 4), (SPLIT, "value_base", HW.kv_rows - 3 * 4),
    # keys as above; 2 words of values fit into a tile, 2 words of 2 tokens
    (replace(ATTENTION, value_spread=0), "key_base", HW.kv_rows - 3 * 8),
    (replace(ATTENTION, value_spread=0), "value_base", HW.kv_rows - 3 * 4),
    # of 20 columns 5 words of 2; of 3 tokens one, in 3 passes of 2 words
    (replace(KEYS, spread=0, head_split=1), "dest_base", HW.kv_rows - 2 * 10 - 2 * 4),
    (replace(KEYS, dest=Dest.VALUE, spread=0, head_split=1), "dest_base", HW.kv_rows - 6 * 2),
    # 2 heads, 5 words of values in 2 passes of 2 groups of 2, of 3 rows each
    (replace(KEYS, dest=Dest.VALUE), "dest_base", HW.kv_rows - 4 * 3)])
def test_ranges_of_heads_end_exactly_at_the_memory(given: Operator, field: str,
                                                   limit: int) -> None:
    dut = Checks(HW, loads=False)

    async def bench(ctx):
        for value, valid in ((limit + 1, False), (limit, True)):
            found = await judged(ctx, dut, replace(given, **{field: value}))
            assert found.count(False) == (not valid), (value, found)

    simulate(dut, bench)


def part_of(program: list[Descriptor], address: int) -> int:
    """Row of the program memory."""
    index, part = divmod(address, Walker.parts(HW))
    bits = 8 * HW.bus_bytes
    return encoded(program[min(index, len(program) - 1)]) >> part * bits & ((1 << bits) - 1)


@pytest.mark.parametrize("late", [20, 120])
@pytest.mark.parametrize("loads", [True, False])
def test_walker_offers_its_own_in_the_stated_cycles(loads: bool, late: int) -> None:
    """The last two descriptors may come late; a program that has ended can be walked again."""
    load = Load(target=Target.RESIDUAL, beats=1)
    program = [load, load, LINEAR, load, LINEAR, Halt()]
    own = [n for n, d in enumerate(program) if isinstance(d, Load if loads else Linear)]
    dut = Walker(HW, loads=loads)

    async def bench(ctx):
        ctx.set(dut.walk.length, len(program))
        ctx.set(dut.walk.memory_size, 64)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.walk.start, 1)
        offers, lacked, done = [], [], None
        for cycle in range(200):
            address = ctx.get(dut.read.address)
            ctx.set(dut.walk.limit, 4 if cycle < late else len(program))
            lacked.append(ctx.get(dut.walk.lacks))
            if ctx.get(dut.o.valid):
                offers.append((cycle, ctx.get(dut.walk.index)))
            if ctx.get(dut.walk.done) and done is None:
                done = cycle
            await ctx.tick()
            ctx.set(dut.walk.start, 0)
            put(ctx, dut.read.data, part_of(program, address))
        assert ctx.get(dut.walk.error) == ErrorCode.NONE
        fetch, expected, lacks = 1, [], 0
        for index in range(len(program)):
            if index == 4:
                lacks, fetch = max(0, late - fetch), max(fetch, late)
            if index in own:
                expected.append((fetch + Walker.check(HW, loads), index))
                fetch += Walker.check(HW, loads) + 1
            elif index < len(program) - 1:
                fetch += Walker.SKIP
        assert offers == expected
        assert done == fetch + Walker.SKIP
        ctx.set(dut.walk.start, 1)
        for _ in range(expected[0][0]):
            address = ctx.get(dut.read.address)
            await ctx.tick()
            ctx.set(dut.walk.start, 0)
            put(ctx, dut.read.data, part_of(program, address))
        assert (ctx.get(dut.o.valid), ctx.get(dut.walk.index)) == (1, own[0])
        assert ctx.get(dut.o.payload.as_value()) == encoded(program[own[0]])
        assert sum(lacked) == lacks
        assert (lacks > 0) == (late > 20)

    simulate(dut, bench)


@pytest.mark.parametrize(("bad", "code"), [
    ({"depth": 0}, ErrorCode.FIELD),
    ({"weight_base": HW.weight_rows}, ErrorCode.RANGE),  # the first range that is judged
    ({"mode": Mode.DELTA, "reference_base": HW.reference_words}, ErrorCode.RANGE)])  # the last
def test_walker_stops_at_a_bad_descriptor(bad: dict, code: ErrorCode) -> None:
    dut = Walker(HW, loads=False)
    program = [LINEAR, replace(LINEAR, **bad)]

    async def bench(ctx):
        ctx.set(dut.walk.length, 2)
        ctx.set(dut.walk.limit, 2)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.walk.start, 1)
        for _ in range(60):
            address = ctx.get(dut.read.address)
            await ctx.tick()
            ctx.set(dut.walk.start, 0)
            put(ctx, dut.read.data, part_of(program, address))
        assert (ctx.get(dut.walk.error), ctx.get(dut.walk.index)) == (code, 1)
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


def test_loader_places_weights_for_every_span(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth, columns = 5, 3 * HW.lanes
    weight = rng.integers(-127, 128, (columns, depth))
    beats = weight.reshape(3, HW.lanes, depth).swapaxes(1, 2).astype(np.int8).reshape(
        -1, HW.bus_bytes)
    for index, span in enumerate(HW.gangs):
        dut, memory = Loader(HW), {}

        async def bench(ctx, dut=dut, memory=memory, index=index):
            weight = dut.loads.weight
            put(ctx, dut.transfer.payload, encoded(Load(target=Target.WEIGHTS, base=9,
                                                        tile_rows=depth, span=index)))
            ctx.set(dut.i.valid, 1)
            assert not ctx.get(dut.i.ready), "no load is expected yet"
            ctx.set(dut.transfer.valid, 1)
            for number, beat in enumerate(beats):
                put(ctx, dut.i.payload, int.from_bytes(beat.tobytes(), "little")
                    | (number == len(beats) - 1) << 8 * HW.bus_bytes)
                ctx.set(dut.i.valid, 1)
                assert ctx.get(dut.loads.weight.en)
                assert ctx.get(dut.transfer.ready) == (number == len(beats) - 1)
                for group in range(HW.groups):
                    if ctx.get(weight.groups) >> group & 1:
                        memory[group, ctx.get(weight.address)] = [
                            ctx.get(weight.data[n]) for n in range(HW.lanes)]
                await ctx.tick()

        simulate(dut, bench)
        for tile in range(3):
            for k in range(depth):
                for group in range(tile % span, HW.groups, span):
                    row = 9 + tile // span * depth + k
                    assert memory[group, row] == weight[tile * HW.lanes :, k][: HW.lanes].tolist()


def test_loader_places_the_program_and_the_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 256, 3 * DESCRIPTOR_BYTES, np.uint8)
    table = rng.integers(0, 256, 4 * HW.bus_bytes, np.uint8)
    dut = Loader(HW)

    async def feed(ctx, content, watch) -> None:
        beats = content.reshape(-1, HW.bus_bytes)
        ctx.set(dut.transfer.valid, 1)
        for number, beat in enumerate(beats):
            put(ctx, dut.i.payload, int.from_bytes(beat.tobytes(), "little")
                | (number == len(beats) - 1) << 8 * HW.bus_bytes)
            ctx.set(dut.i.valid, 1)
            taken = False
            while not taken:
                watch(ctx)
                taken = ctx.get(dut.i.ready)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)

    async def bench(ctx):
        words, entries = {}, {}
        put(ctx, dut.transfer.payload, pack(TRANSFER, {"program": 1}))
        await feed(ctx, code, lambda ctx: ctx.get(dut.code.en) and words.update({
            ctx.get(dut.code.address): get(ctx, dut.code.data)}))
        beats = code.reshape(-1, HW.bus_bytes)
        placed = {n: int.from_bytes(beat.tobytes(), "little") for n, beat in enumerate(beats)}
        assert words == placed
        words.clear()
        put(ctx, dut.transfer.payload, encoded(Load(target=Target.PROGRAM, base=5)))
        await feed(ctx, code, lambda ctx: ctx.get(dut.code.en) and words.update({
            ctx.get(dut.code.address): get(ctx, dut.code.data)}))
        assert words == {5 * Walker.parts(HW) + n: value for n, value in placed.items()}
        put(ctx, dut.transfer.payload, encoded(Load(target=Target.TABLE, bank=1)))
        await feed(ctx, table, lambda ctx: ctx.get(dut.loads.table.en) and entries.update({
            ctx.get(dut.loads.table.address): ctx.get(dut.loads.table.data)}))
        assert entries == {1024 + n: int(value) for n, value in enumerate(table)}
        put(ctx, dut.transfer.payload, pack(TRANSFER, {"skip": 1}))
        assert ctx.get(dut.transfer.ready), "a skipped load needs no beat"

    simulate(dut, bench)
