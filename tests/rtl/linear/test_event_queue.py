"""Queues of events."""

import pytest

from deltamoe.rtl import formats
from deltamoe.rtl.linear.event_queue import EventQueue
from tests.support.bench import put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


@pytest.mark.parametrize("depth", [4, 5])
def test_event_queue_holds_its_depth_and_no_more(depth: int) -> None:
    """Filled and emptied several times, so that its ring closes; no word is lost or repeated."""
    dut, rounds = EventQueue(HW, depth), 4

    async def bench(ctx):
        count = 0
        for _ in range(rounds):
            ctx.set(dut.o.ready, 0)
            ctx.set(dut.i.valid, 1)
            taken = []
            for _ in range(depth + 3):
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": [7] * P, "mask": 1, "row": count, "last": 1}))
                if ctx.get(dut.i.ready):
                    taken.append(count)
                    count += 1
                await ctx.tick()
            assert len(taken) == depth
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.o.ready, 1)
            for row in taken:
                assert ctx.get(dut.o.valid)
                assert ctx.get(dut.o.p.row) == row
                await ctx.tick()
            assert not ctx.get(dut.o.valid)

    simulate(dut, bench)
