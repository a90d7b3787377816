"""Sums that are kept from frame to frame."""

import numpy as np
import torch

from deltamoe.golden.arithmetic.linear import linear
from deltamoe.rtl.temporal.kept_sums import KeptSums
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


def test_kept_sums_take_words_from_memory_and_give_them_back(seed: int) -> None:
    """A loaded word is added to like one that was kept; reading makes way for operators."""
    rng = np.random.default_rng(seed)
    dut, rows, most = KeptSums(HW), 6, 1 << HW.acc_width - 2
    loaded = rng.integers(-most, most, (rows, P))
    loaded[0, :2] = -most, most - 1
    weight = torch.tensor(rng.integers(-127, 128, (P, 5)))
    x = torch.tensor(rng.integers(-128, 128, (rows, 5)))
    events, expected = linear(x, weight), linear(x, weight).numpy() + loaded

    async def bench(ctx):
        for row in range(rows):
            drive(ctx, dut.load, en=1, address=40 + row, data=loaded[row].tolist())
            for n in range(P):
                ctx.set(dut.acc[n], 99)
            await ctx.tick()
        drive(ctx, dut.load)
        await ctx.tick().repeat(KeptSums.LATENCY)
        for row in range(rows):
            for n in range(P):
                ctx.set(dut.acc[n], int(events[row, n]))
            ctx.set(dut.store.address, 7)
            put(ctx, dut.kept.where, pack(dut.kept.where.shape(), {
                "state": 40 + row, "accumulates": 1, "stores": 1}))
            assert not ctx.get(dut.store.granted)
            await ctx.tick()
        put(ctx, dut.kept.where, 0)
        await ctx.tick().repeat(KeptSums.LATENCY)
        for row in range(rows):
            ctx.set(dut.store.address, 40 + row)
            assert ctx.get(dut.store.granted)
            await ctx.tick()
            assert [ctx.get(dut.store.data[n]) for n in range(P)] == expected[row].tolist()

    simulate(dut, bench)


def test_kept_sums_are_those_of_the_reference(seed: int) -> None:
    """Events of eight frames; a fresh frame forgets, one that does not store leaves its sums."""
    rng = np.random.default_rng(seed)
    dut, rows, depth = KeptSums(HW), 5, 9
    weight = torch.tensor(rng.integers(-127, 128, (P, depth)))
    references = [torch.zeros(rows, depth, dtype=torch.int64)]

    async def bench(ctx):
        for frame in range(8):
            fresh, stores = frame in {0, 5}, frame != 3
            x = torch.tensor(rng.integers(-128, 128, (rows, depth)))
            before = torch.zeros_like(x) if fresh else references[-1]
            events = linear(x - before, weight)
            got = []
            for row in range(rows + KeptSums.LATENCY):
                index = min(row, rows - 1)
                for n in range(P):
                    ctx.set(dut.acc[n], int(events[index, n]))
                put(ctx, dut.kept.where, pack(dut.kept.where.shape(), {
                    "state": 40 + index, "accumulates": not fresh,
                    "stores": stores and row < rows}))
                if row >= KeptSums.LATENCY:
                    got.append([ctx.get(dut.sum[n]) for n in range(P)])
                await ctx.tick()
            assert got == linear(x, weight).tolist()
            if stores:
                references.append(x)

    simulate(dut, bench)
