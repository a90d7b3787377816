"""Rows read ahead of a stream that stalls."""

from collections import deque

import pytest

from deltamoe.rtl.memory.row_reader import RowReader
from deltamoe.rtl.writeback.residual import Residual
from tests.support.bench import put, simulate
from tests.support.cases import HW


@pytest.mark.parametrize("shared", [True, False])
def test_row_reader(shared: bool) -> None:
    """A port that others use, or not; rows that come late, a sink without room."""
    dut, rows, words, base = RowReader(HW), 3, 4, 7
    asked = deque([99] * Residual.READ, maxlen=Residual.READ)

    async def bench(ctx):
        put(ctx, dut.base, base)
        put(ctx, dut.rows, rows)
        put(ctx, dut.words, words)
        put(ctx, dut.available, 1)
        ctx.set(dut.start, 1)
        got, wait = [], 0
        for cycle in range(90):
            assert len(got) <= words or cycle > 30, "a row was read before it was there"
            assert len(got) <= 2 * words or cycle > 60, "a row was read without room for it"
            if cycle == 30:
                put(ctx, dut.available, rows)
            granted = not shared or cycle % 4 != 3
            ctx.set(dut.read.granted, granted)
            ctx.set(dut.room, len(got) < 2 * words or cycle >= 60)
            asked.append(ctx.get(dut.read.address) if granted else 99)
            if ctx.get(dut.o.valid):
                got.append((ctx.get(dut.o.p.data[0]), ctx.get(dut.o.p.last)))
                wait = wait or cycle
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.read.data[0], asked[0])
        assert got == [(base + n, n % words == words - 1) for n in range(rows * words)]
        assert wait == RowReader.LATENCY

    simulate(dut, bench)
