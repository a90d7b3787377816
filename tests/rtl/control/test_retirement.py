"""Operators end in order, or are deferred."""

from deltamoe.rtl.control.retirement import ISSUED, Retirement
from deltamoe.rtl.program import Dest, Linear
from tests.support.bench import put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import HW


def test_retirement_defers_keys_and_keeps_order() -> None:
    dut = Retirement(HW)
    key, query = Linear(dest=Dest.KEY, rows=3), Linear(dest=Dest.ACT, rows=4)

    async def bench(ctx):
        async def pulse(port) -> None:
            ctx.set(port, 1)
            await ctx.tick()
            ctx.set(port, 0)

        for op, (layer, empty) in enumerate(((key, 0), (query, 0), (query, 1), (key, 0))):
            assert ctx.get(dut.i.ready)
            put(ctx, dut.i.payload, pack(ISSUED, {"op": op, "empty": empty})
                | encoded(layer))
            await pulse(dut.i.valid)
        assert not ctx.get(dut.i.ready), "four are held"
        assert (ctx.get(dut.draining.active), ctx.get(dut.draining.op)) == (1, 0)
        await pulse(dut.draining.row_written)
        assert ctx.get(dut.rows) == 1
        await pulse(dut.draining.written)
        assert (ctx.get(dut.draining.op), ctx.get(dut.draining.operator.start)) == (1, 1)
        assert ctx.get(dut.rows) == 0
        assert ctx.get(dut.deferred.operator.descriptor.linear.rows) == 3
        await pulse(dut.draining.written)
        await ctx.tick()
        assert (ctx.get(dut.draining.op), ctx.get(dut.finished)) == (1, 0), "the keys are not there"
        await pulse(dut.deferred.ended)
        assert ctx.get(dut.finished) == 1
        await ctx.tick()
        assert (ctx.get(dut.draining.op), ctx.get(dut.finished)) == (2, 2)
        await ctx.tick()
        assert (ctx.get(dut.draining.op), ctx.get(dut.finished)) == (3, 3), "it was empty"
        assert ctx.get(dut.draining.operator.start)
        await ctx.tick()
        assert (ctx.get(dut.deferred.operator.start), ctx.get(dut.idle)) == (1, 0)
        await pulse(dut.draining.written)
        assert not ctx.get(dut.idle)
        await pulse(dut.deferred.ended)
        assert (ctx.get(dut.idle), ctx.get(dut.finished)) == (1, 4)

    simulate(dut, bench)
