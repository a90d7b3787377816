"""Lanes of a group, and when their runs end."""

from deltamoe.rtl.formats import event
from deltamoe.rtl.linear.lanes import Lanes
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW


def test_lanes_end_their_runs_in_time() -> None:
    dut = Lanes(HW)

    async def bench(ctx):
        drive(ctx, dut.weights, en=1, address=3, data=list(range(1, HW.word + 1)))
        await ctx.tick()
        drive(ctx, dut.weights)
        for n in range(3):
            put(ctx, dut.i.payload, pack(event(HW), {"delta": 7, "row": 3, "begin": n == 0,
                                                 "flush": n == 2, "bank": 1}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for cycle in range(1, 12):
            assert ctx.get(dut.o.valid) == (cycle == Lanes.LATENCY)
            if ctx.get(dut.o.valid):
                assert ctx.get(dut.o.p.event.bank) == 1
                assert [ctx.get(dut.o.p.sums[n]) for n in range(HW.word)] == [
                    21 * (n + 1) for n in range(HW.word)]
            await ctx.tick()

    simulate(dut, bench)
