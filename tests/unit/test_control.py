"""Descriptors: checked, walked, executed; and the beats that loads place."""

import numpy as np
import pytest

from golden.library import find
from rtl.checks import STEPS, Checks
from rtl.compiler import compile_program
from rtl.config import PRESETS
from rtl.executor import TRANSFER, ComputeExecutor, LoadExecutor
from rtl.memory.loader import Loader
from rtl.program import DESCRIPTOR, DESCRIPTOR_BYTES, Dest, ErrorCode, Opcode, Target
from rtl.program import pack as encode
from rtl.retirement import ISSUED, Retirement
from rtl.walker import Walker
from tests.support.bench import get, put, simulate
from tests.support.case import pack

HW = PRESETS["nano"]


def raw(**fields: int) -> int:
    return int.from_bytes(encode(fields), "little")


def test_checks_accept_every_compiled_descriptor_and_no_smaller_memory() -> None:
    """A compiled program passes; with one byte less of memory its last transfer does not."""
    program = compile_program(find("digits").quantized, HW)
    dut = Checks(HW)
    store = next(d for d in program.descriptors if d["opcode"] == Opcode.STORE)

    async def bench(ctx):
        ctx.set(dut.memory_size, program.size)
        for fields in program.descriptors:
            put(ctx, dut.descriptor, raw(**fields))
            for step in range(STEPS):
                ctx.set(dut.step, step)
                assert ctx.get(dut.field_valid), fields
                assert ctx.get(dut.range_valid), (step, fields)
                assert ctx.get(dut.address_valid), fields
        ctx.set(dut.memory_size, program.size - 1)
        put(ctx, dut.descriptor, raw(**store))
        assert not ctx.get(dut.address_valid)

    simulate(dut, bench, clocked=False)


LINEAR = {"opcode": Opcode.LINEAR, "rows": 3, "depth": 8, "columns": 16, "passes": 2,
          "source": 1, "source_stride": 2, "dest_stride": 4}


@pytest.mark.parametrize(("field", "limit"), [
    ("weight_base", HW.weight_rows - 16), ("param_base", HW.param_words - 4),
    ("source_base", HW.normed_words - 6), ("dest_base", HW.act_words - 12)])
def test_ranges_end_exactly_at_the_memory(field: str, limit: int) -> None:
    dut = Checks(HW)

    async def bench(ctx):
        for value, valid in ((limit, True), (limit + 1, False)):
            put(ctx, dut.descriptor, raw(**LINEAR, **{field: value}))
            found = []
            for step in range(STEPS):
                ctx.set(dut.step, step)
                found.append(ctx.get(dut.range_valid))
            assert all(found) == valid, (value, found)

    simulate(dut, bench, clocked=False)


@pytest.mark.parametrize("loads", [True, False])
def test_walker_offers_its_own_in_the_stated_cycles(loads: bool) -> None:
    load = {"opcode": Opcode.LOAD, "target": Target.RESIDUAL, "beats": 1}
    program = [load, load, LINEAR, load, LINEAR, {"opcode": Opcode.HALT}]
    own = [n for n, d in enumerate(program) if d["opcode"] != Opcode.HALT
           and (d["opcode"] == Opcode.LOAD) == loads]
    dut = Walker(HW, loads=loads)

    async def bench(ctx):
        ctx.set(dut.length, len(program))
        ctx.set(dut.memory_size, 64)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.start, 1)
        offers, done = [], None
        for cycle in range(100):
            address = ctx.get(dut.address)
            if ctx.get(dut.o.valid):
                offers.append((cycle, ctx.get(dut.index)))
            if ctx.get(dut.done) and done is None:
                done = cycle
            await ctx.tick()
            ctx.set(dut.start, 0)
            put(ctx, dut.data, raw(**program[address]) if address < len(program) else 0)
        assert ctx.get(dut.error) == ErrorCode.NONE
        fetch, expected, before = 1, [], -1
        for index in own:
            fetch += Walker.SKIP * (index - before - 1)
            expected.append((fetch + Walker.CHECK, index))
            fetch, before = fetch + Walker.CHECK + 1, index
        assert offers == expected
        assert done == fetch + Walker.SKIP * (len(program) - 1 - before)

    simulate(dut, bench)


def test_walker_stops_at_a_bad_descriptor() -> None:
    dut = Walker(HW, loads=False)
    program = [LINEAR, {**LINEAR, "depth": 0}]

    async def bench(ctx):
        ctx.set(dut.length, 2)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.start, 1)
        for _ in range(60):
            address = ctx.get(dut.address)
            await ctx.tick()
            ctx.set(dut.start, 0)
            put(ctx, dut.data, raw(**program[min(address, 1)]))
        assert (ctx.get(dut.error), ctx.get(dut.index)) == (ErrorCode.FIELD, 1)
        assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


def test_load_executor_waits_skips_and_stops() -> None:
    dut = LoadExecutor(HW)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        put(ctx, dut.i.payload, raw(opcode=Opcode.LOAD, wait_computes=2, address=72, beats=5))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.index, 9)
        ctx.set(dut.memory_base, 1 << 33)
        ctx.set(dut.computes, 1)
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.computes, 2)
        ctx.set(dut.stop, 1)
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.stop, 0)
        assert ctx.get(dut.i.ready)
        assert ctx.get(dut.o.valid)
        assert (ctx.get(dut.o.p.position), ctx.get(dut.o.p.skip)) == (9, 0)
        await ctx.tick()
        assert (ctx.get(dut.command.p.address), ctx.get(dut.command.p.beats)) == ((1 << 33) + 72, 5)
        assert (ctx.get(dut.command.valid), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.command.ready, 1)
        await ctx.tick()
        assert (ctx.get(dut.command.valid), ctx.get(dut.idle)) == (0, 1)
        put(ctx, dut.i.payload, raw(opcode=Opcode.LOAD, skip_if_empty=1, routed=3, expert=3,
                                    beats=1))
        assert ctx.get(dut.inspected) == 3
        assert not ctx.get(dut.o.p.skip), "the routing is not known yet"
        ctx.set(dut.computes, 3)
        assert ctx.get(dut.o.p.skip)
        ctx.set(dut.occupied, 1)
        assert not ctx.get(dut.o.p.skip)
        ctx.set(dut.occupied, 0)
        await ctx.tick()
        assert (ctx.get(dut.command.valid), ctx.get(dut.i.ready)) == (0, 1)
        ctx.set(dut.o.ready, 0)
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (1, 0), "the loader has no room"

    simulate(dut, bench)


def test_compute_executor_issues_in_order() -> None:
    dut = ComputeExecutor(HW)

    async def bench(ctx):
        put(ctx, dut.i.payload, raw(opcode=Opcode.LINEAR, wait_loads=1, wait_computes=4, by_row=1,
                                    rows=2))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.room, 1)
        ctx.set(dut.computes, 2)
        assert (ctx.get(dut.waits_loads), ctx.get(dut.waits_computes)) == (1, 0)
        ctx.set(dut.loads, 1)
        assert (ctx.get(dut.waits_loads), ctx.get(dut.waits_computes)) == (0, 1)
        ctx.set(dut.computes, 3)
        ctx.set(dut.room, 0)
        assert (ctx.get(dut.waits_computes), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.room, 1)
        op = ctx.get(dut.op)
        await ctx.tick()
        ctx.set(dut.rows, 2)
        assert ctx.get(dut.started)
        assert (ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (1, 0)
        assert ctx.get(dut.op) == op + 1
        assert not ctx.get(dut.released), "its last row is still to come"
        ctx.set(dut.computes, 4)
        assert ctx.get(dut.released)
        await ctx.tick().repeat(3)
        assert (ctx.get(dut.started), ctx.get(dut.o.valid), ctx.get(dut.idle)) == (0, 0, 0)
        ctx.set(dut.issued, 1)
        await ctx.tick()
        ctx.set(dut.issued, 0)
        assert ctx.get(dut.idle)
        await ctx.tick()
        ctx.set(dut.rows, 0)
        assert (ctx.get(dut.started), ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (0, 1, 1)
        await ctx.tick()
        assert ctx.get(dut.idle), "an operator without rows has no items to wait for"

    simulate(dut, bench)


def test_retirement_defers_keys_and_keeps_order() -> None:
    dut = Retirement(HW)
    key = {"opcode": Opcode.LINEAR, "dest": Dest.KEY, "rows": 3}
    query = {"opcode": Opcode.LINEAR, "dest": Dest.ACT, "rows": 4}

    async def bench(ctx):
        async def pulse(port) -> None:
            ctx.set(port, 1)
            await ctx.tick()
            ctx.set(port, 0)

        for op, (fields, empty) in enumerate(((key, 0), (query, 0), (query, 1), (key, 0))):
            assert ctx.get(dut.i.ready)
            put(ctx, dut.i.payload, pack(ISSUED, {"op": op, "empty": empty})
                | raw(**fields))
            await pulse(dut.i.valid)
        assert not ctx.get(dut.i.ready), "four are held"
        assert (ctx.get(dut.active), ctx.get(dut.head.op)) == (1, 0)
        await pulse(dut.row_written)
        assert ctx.get(dut.rows) == 1
        await pulse(dut.written)
        assert (ctx.get(dut.head.op), ctx.get(dut.started), ctx.get(dut.rows)) == (1, 1, 0)
        assert ctx.get(dut.deferred.rows) == 3
        await pulse(dut.written)
        await ctx.tick()
        assert (ctx.get(dut.head.op), ctx.get(dut.finished)) == (1, 0), "the keys are not there"
        await pulse(dut.ended)
        assert ctx.get(dut.finished) == 1
        await ctx.tick()
        assert (ctx.get(dut.head.op), ctx.get(dut.finished)) == (2, 2)
        await ctx.tick()
        assert (ctx.get(dut.head.op), ctx.get(dut.finished)) == (3, 3), "it was empty"
        assert ctx.get(dut.started)
        await ctx.tick()
        assert (ctx.get(dut.deferred_started), ctx.get(dut.idle)) == (1, 0)
        await pulse(dut.written)
        assert not ctx.get(dut.idle)
        await pulse(dut.ended)
        assert (ctx.get(dut.idle), ctx.get(dut.finished)) == (1, 4)

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
            put(ctx, dut.transfer.payload, raw(target=Target.WEIGHTS, weight_base=9, depth=depth,
                                               span=index))
            ctx.set(dut.i.valid, 1)
            assert not ctx.get(dut.i.ready), "no load is expected yet"
            ctx.set(dut.transfer.valid, 1)
            for number, beat in enumerate(beats):
                put(ctx, dut.i.payload, int.from_bytes(beat.tobytes(), "little")
                    | (number == len(beats) - 1) << 8 * HW.bus_bytes)
                ctx.set(dut.i.valid, 1)
                assert ctx.get(dut.weight.en)
                assert ctx.get(dut.finished) == (number == len(beats) - 1)
                for group in range(HW.groups):
                    if ctx.get(dut.groups) >> group & 1:
                        memory[group, ctx.get(dut.weight.row)] = [
                            ctx.get(dut.weight.data[n]) for n in range(HW.lanes)]
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
        assert words == {n: int.from_bytes(code[64 * n :][:64].tobytes(), "little")
                         for n in range(3)}
        put(ctx, dut.transfer.payload, pack(DESCRIPTOR, {"target": Target.TABLE, "bank": 1}))
        await feed(ctx, table, lambda ctx: ctx.get(dut.table.en) and entries.update({
            ctx.get(dut.table.address): ctx.get(dut.table.data)}))
        assert entries == {1024 + n: int(value) for n, value in enumerate(table)}
        put(ctx, dut.transfer.payload, pack(TRANSFER, {"skip": 1}))
        assert ctx.get(dut.finished), "a skipped load needs no beat"

    simulate(dut, bench)
