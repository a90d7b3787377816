"""Walkers offer the descriptors of their kind."""

from dataclasses import replace

import pytest

from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.program import (
    Descriptor,
    ErrorCode,
    Halt,
    Linear,
    Load,
    Mode,
    Source,
    Target,
)
from tests.support.bench import put, simulate
from tests.support.case import encoded
from tests.support.cases import HW

LINEAR = Linear(rows=3, depth=8, columns=16, passes=2, source=Source.NORMED, source_stride=2,
                dest_stride=4)


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
                expected.append((fetch + Walker.fetch_to_offer(HW, loads), index))
                fetch += Walker.fetch_to_offer(HW, loads) + 1
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
