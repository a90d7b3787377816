"""Descriptors are checked before they run."""

from dataclasses import replace

import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator

from deltamoe.golden.library import find
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.control.checks.descriptor import Checks, quotient
from deltamoe.rtl.program import (
    Attention,
    Descriptor,
    Dest,
    Linear,
    Load,
    Mode,
    Operator,
    Source,
    Store,
)
from tests.support.bench import put, simulate
from tests.support.case import encoded
from tests.support.cases import HW, TOGETHER

LINEAR = Linear(rows=3, depth=8, columns=16, passes=2, source=Source.NORMED, source_stride=2,
                dest_stride=4)

WIDE = Linear(rows=3, depth=32, columns=8, source=Source.ACT, source_base=4, source_stride=8,
              split=2, span=2, wide=True)

ATTENTION = Attention(rows=5, head_dim=8, heads=5, head_words=2, set_size=1, spread=1,
                      value_spread=1, source_stride=10, dest_stride=9)

SPLIT = replace(ATTENTION, spread=0, head_split=1, value_spread=0)

KEYS = replace(LINEAR, dest=Dest.KEY, columns=60, heads=3, head_words=5, set_size=1, spread=1,
               key_gap=4)


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


@pytest.mark.parametrize(("rows", "spread", "valid"), [
    (9, 0, True), (9, 1, False), (17, 0, True), (17, 1, True), (17, 2, False), (1, 0, False),
    (8, 0, False), (10, 0, False), (16, 0, False), (25, 1, False)])
def test_a_last_key_is_alone_in_its_tile(rows: int, spread: int, valid: bool) -> None:
    dut = Checks(replace(HW, last_key=True), loads=False)

    async def bench(ctx):
        for last_key in (False, True):
            found = await judged(ctx, dut, replace(
                ATTENTION, rows=rows, heads=1, set_size=2, spread=spread, value_spread=0,
                last_key=last_key))
            assert found[0] == (valid or not last_key)

    simulate(dut, bench)


@pytest.mark.parametrize("divisor", [1, 2, 3, 6, 12, 20, 24, 28, 31])
def test_quotient_is_rounded_up(divisor: int) -> None:
    m, value, result = Module(), Signal(8), Signal(8)
    m.d.comb += result.eq(quotient(value, divisor))

    async def bench(ctx):
        for number in range(256):
            ctx.set(value, number)
            assert ctx.get(result) == -(-number // divisor)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()



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
