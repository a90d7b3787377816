"""A memory of two halves, read and written by parts of rows."""

import numpy as np
import pytest

from deltamoe.rtl.config import lower_half
from deltamoe.rtl.memory.halves import Halves
from tests.support.bench import drive, simulate


@pytest.mark.parametrize("depth", [6, 1030])
def test_halves_keep_parts_of_rows(depth: int, seed: int) -> None:
    """Each half is written and loaded, also both in the same cycle, and reads what came last."""
    rng = np.random.default_rng(seed)
    lower, dut, kept = lower_half(depth), Halves(16, depth, 2), {}
    places = [0, lower - 1, lower, depth - 1]

    async def bench(ctx):
        for turn in range(60):
            first, second = rng.permutation(places)[:2].tolist()
            write, load = (int(value) for value in rng.integers(0, 1 << 16, 2))
            enable, loading = (3, 3) if turn < 20 else rng.integers(0, 4, 2).tolist()
            loads = (first >= lower) != (second >= lower)
            drive(ctx, dut.write, en=enable, address=first, data=write)
            drive(ctx, dut.load, en=loading * loads, address=second, data=load)
            mask, filled = (0xFF * (en & 1) | 0xFF00 * (en >> 1)
                            for en in (enable, loading * loads))
            kept[first] = kept.get(first, 0) & ~mask | write & mask
            kept[second] = kept.get(second, 0) & ~filled | load & filled
            await ctx.tick()
            drive(ctx, dut.write)
            drive(ctx, dut.load)
            for place, value in kept.items():
                ctx.set(dut.read.address, place)
                await ctx.tick()
                assert ctx.get(dut.read.data) == value
                upper = ctx.get(dut.upper)
                assert (upper, ctx.get(dut.halves[upper])) == (place >= lower, value)
        assert len(kept) == len(places)

    simulate(dut, bench)
