"""A worker takes events and fills its banks."""

import pytest

from deltamoe.rtl import formats
from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.linear.worker import Worker
from tests.support.bench import put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


def test_worker_goes_round_its_banks_and_waits_for_their_drain() -> None:
    """One item more than banks; runs of one event keep their distance."""
    dut, banks = Worker(HW), HW.banks
    masks = [0b1011, 0b1111, 0b1000, 0b0001, 0b0111][: banks + 1]

    async def bench(ctx):
        popped, flushes, complete, behind, last = [], [], [], [], []
        released = False
        for cycle in range(80):
            item = cycle
            if item < len(masks):
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": [1, 2, 3, 4], "mask": masks[item], "row": 10 * item, "last": 1,
                    "empty": not masks[item]}))
            ctx.set(dut.i.valid, item < len(masks))
            ctx.set(dut.accept, item < len(masks) and item < 2)
            if ctx.get(dut.o.valid):
                event = dut.o.p
                popped.append((ctx.get(event.row), ctx.get(event.delta), ctx.get(event.begin),
                               ctx.get(event.fresh), ctx.get(event.last), ctx.get(event.bank)))
                if ctx.get(event.flush):
                    flushes.append(cycle)
                if ctx.get(event.last):
                    last.append(cycle)
            if ctx.get(dut.oldest.summed) & 1 and len(complete) == released:
                complete.append(cycle + 1)
            if ctx.get(dut.oldest.summed) & 2 and not behind:
                behind.append(cycle + 1)
            if cycle == 40:
                assert len(last) == banks
                assert ctx.get(dut.blocked)
            ctx.set(dut.oldest.release, cycle == 50)
            released |= cycle == 50
            await ctx.tick()
        assert [complete[0], behind[0]] == [cycle - 1 + Worker.LATENCY for cycle in last[:2]], (
            "an event leaves a cycle after its pop")
        expected = []
        for item, mask in enumerate(masks):
            sent = [n for n in range(P) if mask >> n & 1]
            expected += [(10 * item + n, n + 1, n == sent[0], 1, n == sent[-1], item % banks)
                         for n in sent]
        assert popped == expected
        assert flushes == last
        assert [cycle - last[0] for cycle in last[:banks]] == [0, 4, 6, 8], "no cycle is lost"
        assert last[-1] == 50 + Worker.FREED + 3, "three events follow, through a register"

    simulate(dut, bench)


@pytest.mark.parametrize("count", [8, 9, 17, 24])
def test_worker_flushes_every_eight_events(count: int) -> None:
    dut = Worker(HW)

    async def bench(ctx):
        seen = []
        for cycle in range(60):
            first = cycle * P
            if first < count:
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": [1] * P, "mask": (1 << min(P, count - first)) - 1, "row": first,
                    "last": first + P >= count}))
            ctx.set(dut.i.valid, first < count)
            ctx.set(dut.accept, cycle == 0)
            if ctx.get(dut.o.valid):
                seen.append((cycle, ctx.get(dut.o.p.begin), ctx.get(dut.o.p.flush),
                             ctx.get(dut.o.p.fresh)))
            await ctx.tick()
        cycles, begins, flushes, fresh = zip(*seen, strict=True)
        assert list(begins) == [n % RUN == 0 for n in range(count)]
        assert list(flushes) == [n % RUN == RUN - 1 or n == count - 1 for n in range(count)]
        assert list(fresh) == [n < RUN for n in range(count)]
        assert cycles[-1] - cycles[0] == count - 1 + (count % RUN == 1)

    simulate(dut, bench)
