"""A lane group and its banks of sums."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.golden.arithmetic.linear import linear
from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.formats import event
from deltamoe.rtl.linear.lane_group import LaneGroup
from deltamoe.rtl.linear.worker import Worker
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, tensor


@pytest.mark.parametrize("hw", [HW, replace(HW, packed=True)], ids=["plain", "packed"])
def test_lane_group_sums_every_bank(hw, seed: int) -> None:
    """Items of 3 to 19 events, weights and values in turns; each bank as soon as it may be read."""
    rng = np.random.default_rng(seed)
    depth = 19
    memories = [rng.integers(-127, 128, (depth, hw.lanes)) for _ in range(2)]
    lengths = [3, 8, 10, depth][: hw.banks]
    rows = [rng.integers(-255, 256, length) for length in lengths]
    dut = LaneGroup(hw)

    async def bench(ctx):
        for row in range(depth):
            drive(ctx, dut.weights, en=1, address=row, data=memories[0][row].tolist())
            for half in range(2):
                drive(ctx, dut.kv, en=1 << half, address=row,
                    data=memories[1][row, half * hw.word :][: hw.word].tolist())
                await ctx.tick()
        drive(ctx, dut.weights)
        drive(ctx, dut.kv)
        for bank, deltas in enumerate(rows):
            for row, delta in enumerate(deltas):
                flush = row % RUN == RUN - 1 or row == len(deltas) - 1
                put(ctx, dut.i.payload, pack(event(hw), {
                    "delta": int(delta), "row": row, "kv": bank % 2, "begin": row % RUN == 0,
                    "flush": flush, "fresh": row < RUN, "bank": bank}))
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(Worker.LATENCY - 1)
        for half in range(2):
            for bank, deltas in reversed(list(enumerate(rows))):
                expected = linear(tensor(deltas[None]), tensor(
                    memories[bank % 2][: len(deltas)].T))[0].tolist()
                ctx.set(dut.sums.address, 2 * bank + half)
                got = [~ctx.get(dut.sums.data[n]) for n in range(hw.word)]
                assert got == expected[half * hw.word :][: hw.word], (bank, half)
            await ctx.tick()

    simulate(dut, bench)
