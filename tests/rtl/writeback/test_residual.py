"""The residual stream."""

import numpy as np
import torch

from deltamoe.golden.arithmetic.residual import residual_add
from deltamoe.rtl import formats
from deltamoe.rtl.program import Dest
from deltamoe.rtl.writeback.residual import Residual
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


def test_residual_adds_and_saturates_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = Residual(HW)
    x = rng.integers(-32768, 32768, (8, P))
    steps = [(Dest.RESIDUAL, rng.integers(-(1 << 23), 1 << 23, (8, P))),
             (Dest.RESIDUAL, rng.integers(-9000, 9000, (8, P))),
             (Dest.COMBINE, rng.integers(-(1 << 17), 1 << 17, (8, P))),
             (Dest.COMBINE, rng.integers(-(1 << 17), 1 << 17, (8, P))),
             (Dest.RESIDUAL, rng.integers(-20000, 20000, (8, P)))]
    expected = torch.tensor(x)
    for _, y in steps[:2]:
        expected = residual_add(expected, torch.tensor(y))
    expected = residual_add(expected, torch.tensor(steps[2][1] + steps[3][1]))
    expected = residual_add(expected, torch.tensor(steps[4][1]))
    output = rng.integers(-32768, 32768, P)

    async def read(ctx, address: int) -> list[int]:
        ctx.set(dut.read.address, address)
        assert ctx.get(dut.read.granted)
        await ctx.tick()
        ctx.set(dut.read.address, 0)
        await ctx.tick().repeat(Residual.READ - 1)
        return [ctx.get(dut.read.data[n]) for n in range(P)]

    async def bench(ctx):
        for address in range(8):
            drive(ctx, dut.load, en=1, address=address, data=x[address].tolist())
            await ctx.tick()
        drive(ctx, dut.load)
        beyond = np.full((1, P), 1 << 17)
        for first, dest, rows in [*((0, *step) for step in steps), (8, Dest.COMBINE, beyond),
                                  (8, Dest.OUTPUT, output[None])]:
            for address, row in enumerate(rows, first):
                put(ctx, dut.i.payload, pack(formats.requantized(HW), {
                    "data": row.tolist(), "tag": {"dest": dest, "address": address}}))
                ctx.set(dut.i.valid, 1)
                assert not ctx.get(dut.read.granted), "the port reads what is added to"
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(Residual.LATENCY - 1)
        assert await read(ctx, 8) == output.tolist(), "the last word, as early as it may be read"
        for address in range(8):
            assert await read(ctx, address) == expected[address].tolist()

    simulate(dut, bench)
    inside = (expected.abs() < 32767).float().mean()
    assert 0.2 < inside < 1, "the sum saturates always or never"
