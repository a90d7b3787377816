"""Rows of the residual stream, normalized."""

from collections import deque

import numpy as np
import pytest

from deltamoe.golden.arithmetic.layer_norm import layer_norm
from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.norm.normalization import Normalization
from deltamoe.rtl.program import Linear
from deltamoe.sim.units.normalization import rows_normalized
from tests.support.bench import drive, put, simulate
from tests.support.case import encoded
from tests.support.cases import HW, P, tensor


@pytest.mark.parametrize("adds", [[], [(4, 5), (12, 12), (14, 14), (60, 75)]])
@pytest.mark.parametrize("there", [[0] * 7, [0, 5, 60, 61, 61, 61, 63], [40] * 7])
def test_normalization_is_ready_when_the_simulator_says(
        there: list[int], adds: list[tuple[int, int]], seed: int) -> None:
    """Rows may be there from the start or come later; others may use the port."""
    rng = np.random.default_rng(seed)
    rows, dim, base = len(there), 12, 6
    words = dim // P
    x, gain = rng.integers(-4000, 4000, (rows, dim)), rng.integers(-900, 900, dim)
    bias = rng.integers(-(1 << 18), 1 << 18, dim)
    expected = layer_norm(tensor(x), tensor(gain), tensor(bias), gain_shift=5, epsilon=9)
    dut, ready, count = Normalization(HW), [], 0
    asked = deque([-1] * Residual.READ, maxlen=Residual.READ)

    async def bench(ctx):
        nonlocal count
        for word in range(words):
            drive(ctx, dut.parameters, en=1, address=2 + word, data=[
                {"bias": int(bias[word * P + n]), "multiplier": int(gain[word * P + n]) & 0xFFFF}
                for n in range(P)])
            await ctx.tick()
        drive(ctx, dut.parameters)
        put(ctx, dut.operator.descriptor, encoded(Linear(
            norm=True, rows=rows, dim=dim, norm_source=base, norm_base=2, epsilon=9,
            gain_shift=5)))
        for cycle in range(250):
            ctx.set(dut.available, sum(cycle >= time for time in there))
            ctx.set(dut.operator.start, cycle == 0)
            granted = not any(first <= cycle <= last for first, last in adds)
            ctx.set(dut.residual.granted, granted)
            asked.append(ctx.get(dut.residual.address) - base if granted else -1)
            count += ctx.get(dut.counts.norm_words)
            while len(ready) < ctx.get(dut.rows):
                ready.append(cycle)
            await ctx.tick()
            inside = 0 <= asked[0] < rows * words
            for n in range(P):
                ctx.set(dut.residual.data[n],
                        int(x.reshape(-1, P)[asked[0], n]) if inside else 12345)
        for word in range(rows * words):
            ctx.set(dut.read.address, word)
            await ctx.tick()
            got = [(ctx.get(dut.read.data[n]) + 128) % 256 - 128 for n in range(P)]
            assert got == expected.reshape(-1, P)[word].tolist()

    simulate(dut, bench)
    assert ready == rows_normalized(HW, 0, rows, words, there.__getitem__, adds)
    assert count == rows * words
