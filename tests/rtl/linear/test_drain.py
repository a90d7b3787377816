"""The drain: order of issue, and credits."""

from deltamoe.rtl import formats
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.formats import RESULTS
from deltamoe.rtl.linear.drain import MADE, Drain
from deltamoe.rtl.program import Dest
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


def test_drain_keeps_issue_order_and_its_credits() -> None:
    """Only the active operator, only when complete; a row more than the softmax holds waits."""
    dut, layout = Drain(HW), formats.drained(HW)
    rows = Softmax.ROWS + 1

    async def bench(ctx):
        for n in range(rows):
            drive(ctx, dut.parameters, en=1, address=20 + n, data=[
                {"bias": 9 - 7 * (n + 2 * channel), "multiplier": 300 * n + channel}
                for channel in range(P)])
            await ctx.tick()
        drive(ctx, dut.parameters)
        for n in range(rows):
            put(ctx, dut.i.payload, pack(layout, {
                "leader": n % HW.groups, "op": 6, "words": 2, "count": 3, "dest": Dest.SCORES,
                "address": 10 * n, "param": 20 + n, "slot": n % 2, "shift": 1, "first": 1,
                "last": 1}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.sums.summed, 3)
        ctx.set(dut.op, 6)
        await ctx.tick().repeat(Drain.VISIBLE)
        assert not ctx.get(dut.counts.drain_busy), "nothing drains yet"
        ctx.set(dut.active, 1)
        ctx.set(dut.op, 5)
        await ctx.tick().repeat(Drain.START)
        assert not ctx.get(dut.counts.drain_busy), "another operator drains"
        ctx.set(dut.op, 6)
        ctx.set(dut.sums.summed, 2)
        await ctx.tick().repeat(Drain.START)
        assert (ctx.get(dut.counts.drain_busy), ctx.get(dut.counts.drain_starved)) == (0, 1)
        assert ctx.get(dut.sums.next_groups) == 2
        ctx.set(dut.sums.summed, 3)
        await ctx.tick()
        seen, tags, scales = [], [], []
        for _ in range(2 * rows + Drain.latency(HW)):
            if ctx.get(dut.counts.drain_busy):
                seen.append((ctx.get(dut.sums.groups), ctx.get(dut.sums.word),
                             ctx.get(dut.sums.release)))
            await ctx.tick()
            if ctx.get(dut.o.valid):
                tag = dut.o.p.tag
                tags.append((ctx.get(tag.address), ctx.get(tag.count), ctx.get(dut.o.p.width),
                             ctx.get(dut.o.p.shift)))
                scales.append([(ctx.get(dut.o.p.bias[n]), ctx.get(dut.o.p.multiplier[n]))
                               for n in range(P)])
        width = RESULTS.index(MADE[Dest.SCORES])
        assert seen == [(1 << n % HW.groups, word, word) for n in range(rows - 1)
                        for word in range(2)]
        assert tags == [(10 * n + word, 3 if word else P, width, 1) for n in range(rows - 1)
                        for word in range(2)]
        assert scales == [[(9 - 7 * (n + 2 * channel), 300 * n + channel) for channel in range(P)]
                          for n in range(rows - 1) for _ in range(2)]
        assert (ctx.get(dut.counts.drain_busy), ctx.get(dut.counts.drain_credit)) == (0, 1)
        ctx.set(dut.row_freed, 1)
        await ctx.tick()
        ctx.set(dut.row_freed, 0)
        assert ctx.get(dut.counts.drain_busy)
        assert ctx.get(dut.sums.groups) == 1 << (rows - 1) % HW.groups

    simulate(dut, bench)


def test_drain_asks_for_the_item_behind() -> None:
    """The second bit of ``summed`` counts in the cycle of a release alone."""
    dut, layout = Drain(HW), formats.drained(HW)

    async def bench(ctx):
        ctx.set(dut.op, 6)
        ctx.set(dut.active, 1)
        for n in range(3):
            put(ctx, dut.i.payload, pack(layout, {"leader": n, "op": 6, "words": 1, "count": 1}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        seen = []
        for summed in (2, 1, 1, 1, 2, 1, 1):
            seen.append((ctx.get(dut.sums.groups), ctx.get(dut.sums.release),
                         ctx.get(dut.counts.drain_starved)))
            ctx.set(dut.sums.summed, summed)
            await ctx.tick()
        assert seen == [(1, 0, 1), (1, 0, 1), (1, 1, 0), (2, 0, 1), (2, 1, 0), (4, 1, 0), (0, 0, 0)]

    simulate(dut, bench)
