"""Loads on their way to the loader."""

from deltamoe.rtl.control.transfer_queue import TransferQueue
from deltamoe.rtl.formats import TRANSFER
from tests.support.bench import get, put, simulate
from tests.support.case import pack
from tests.support.cases import HW


def test_as_many_transfers_as_stated_wait_for_the_loader() -> None:
    dut = TransferQueue(HW)

    async def bench(ctx):
        taken, left = 0, []
        for cycle in range(40):
            ctx.set(dut.i.valid, cycle < 20)
            put(ctx, dut.i.payload, pack(TRANSFER, {"position": taken}))
            ctx.set(dut.o.ready, cycle >= 20)
            taken += cycle < 20 and ctx.get(dut.i.ready)
            if cycle >= 20 and ctx.get(dut.o.valid):
                left.append(get(ctx, dut.o.payload))
            await ctx.tick()
        assert left == [pack(TRANSFER, {"position": n}) for n in range(TransferQueue.DEPTH)]

    simulate(dut, bench)
