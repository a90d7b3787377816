"""Executors of loads and of operators."""

from deltamoe.rtl.control.executor import ComputeExecutor, LoadExecutor
from deltamoe.rtl.program import Linear, Load, Store, Target
from tests.support.bench import put, simulate
from tests.support.case import encoded
from tests.support.cases import HW


def test_load_executor_waits_and_skips() -> None:
    dut = LoadExecutor(HW)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        put(ctx, dut.i.payload, encoded(Load(wait_computes=2, address=72, beats=5)))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.index, 9)
        ctx.set(dut.settings.memory_base, 1 << 33)
        ctx.set(dut.finished.computes, 1)
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (0, 0), "it has not been looked at"
        await ctx.tick()
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.finished.computes, 2)
        assert not ctx.get(dut.i.ready), "it is looked at in one cycle and taken in the next"
        await ctx.tick()
        assert ctx.get(dut.i.ready)
        assert ctx.get(dut.o.valid)
        assert (ctx.get(dut.o.p.position), ctx.get(dut.o.p.skip)) == (9, 0)
        await ctx.tick()
        put(ctx, dut.i.payload, encoded(
            Load(skip_if_empty=True, wait_computes=3, routed=3, expert=3, beats=1)))
        assert (ctx.get(dut.command.p.address), ctx.get(dut.command.p.beats)) == ((1 << 33) + 72, 5)
        assert (ctx.get(dut.command.valid), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.command.ready, 1)
        await ctx.tick()
        assert (ctx.get(dut.command.valid), ctx.get(dut.idle)) == (0, 1)
        assert ctx.get(dut.occupied.address) == 3
        assert not ctx.get(dut.i.ready), "what was seen of the load before is not this one's"
        ctx.set(dut.o.ready, 0)
        for computes, occupied, skipped, judged in (
                (2, 0, 0, "the routing is not known yet"), (3, 0, 1, "the queue is empty"),
                (3, 1, 0, "the queue has tokens"), (3, 0, 1, "it is empty again")):
            ctx.set(dut.finished.computes, computes)
            ctx.set(dut.occupied.data, occupied)
            await ctx.tick()
            assert ctx.get(dut.o.p.skip) == skipped, judged
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (1, 0), "the loader has no room"
        ctx.set(dut.o.ready, 1)
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (0, 1)
        await ctx.tick()
        assert (ctx.get(dut.command.valid), ctx.get(dut.idle)) == (0, 1), "nothing is read"
        assert not ctx.get(dut.i.ready), "the next is looked at for itself"
        put(ctx, dut.i.payload, encoded(Load(wait_stores=1, beats=1)))
        await ctx.tick()
        assert not ctx.get(dut.i.ready), "a transfer has not finished"
        ctx.set(dut.finished.stores, 1)
        await ctx.tick()
        assert ctx.get(dut.i.ready)

    simulate(dut, bench)


def test_compute_executor_issues_in_order() -> None:
    dut = ComputeExecutor(HW)
    started = dut.issue.operator.start

    async def bench(ctx):
        async def offer(descriptor) -> None:
            ctx.set(dut.i.valid, 0)
            put(ctx, dut.i.payload, encoded(descriptor))
            await ctx.tick()
            ctx.set(dut.i.valid, 1)

        await offer(Linear(wait_loads=1, wait_computes=4, by_row=True, rows=2))
        ctx.set(dut.lengths.data, 9)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.finished.computes, 2)
        assert (ctx.get(dut.waits_loads), ctx.get(dut.waits_computes)) == (1, 0)
        ctx.set(dut.finished.loads, 1)
        assert (ctx.get(dut.waits_loads), ctx.get(dut.waits_computes)) == (0, 1)
        ctx.set(dut.finished.computes, 3)
        ctx.set(dut.o.ready, 0)
        assert (ctx.get(dut.waits_computes), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.o.ready, 1)
        op = ctx.get(dut.issue.op)
        await ctx.tick()
        assert ctx.get(dut.issue.rows) == 2, "not the length of a queue"
        assert ctx.get(started)
        assert (ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (1, 0)
        assert ctx.get(dut.issue.op) == op + 1
        assert not ctx.get(dut.issue.released), "its last row is still to come"
        ctx.set(dut.finished.computes, 4)
        assert ctx.get(dut.issue.released)
        await ctx.tick().repeat(3)
        assert (ctx.get(started), ctx.get(dut.o.valid), ctx.get(dut.idle)) == (0, 0, 0)
        ctx.set(dut.issue.issued, 1)
        await ctx.tick()
        ctx.set(dut.issue.issued, 0)
        assert ctx.get(dut.idle)
        await offer(Linear(wait_loads=1, wait_computes=4, gather=True, queue=5, rows=2))
        assert ctx.get(dut.lengths.address) == 5
        ctx.set(dut.lengths.data, 0)
        await ctx.tick()
        ctx.set(dut.lengths.data, 7)
        assert ctx.get(dut.issue.rows) == 0, "the length when it was taken"
        assert (ctx.get(started), ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (0, 1, 1)
        await ctx.tick()
        assert ctx.get(dut.idle), "an operator without rows has no items to wait for"
        await offer(Store(target=Target.REFERENCE, wait_computes=5, address=0xFFFF_FFFF,
                          base=0xFFFF))
        assert not ctx.get(dut.i.ready), "a store waits for nothing row by row"
        ctx.set(dut.finished.computes, 5)
        assert ctx.get(dut.i.ready)
        await ctx.tick()
        assert (ctx.get(started), ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (0, 1, 0)
        await ctx.tick()
        assert (ctx.get(dut.idle), ctx.get(dut.pending)) == (1, 1), "its transfer runs beside"

    simulate(dut, bench)
