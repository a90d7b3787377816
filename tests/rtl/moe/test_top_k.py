"""The choice of a token's experts."""

import numpy as np

from deltamoe.golden.arithmetic.gate import top_k_experts
from deltamoe.rtl.moe.top_k import TopK
from tests.support.bench import simulate
from tests.support.cases import tensor


def test_top_k(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = TopK(4, 33, 3)

    async def bench(ctx):
        for draw in range(40):
            count = int(rng.integers(1, 9))
            values = rng.integers(-3, 4, count) if draw % 2 else rng.integers(
                -(1 << 32), 1 << 32, count)
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for start in range(0, count, 3):
                for lane, index in enumerate(range(start, start + 3)):
                    ctx.set(dut.enable[lane], index < count)
                    ctx.set(dut.value[lane], int(values[min(index, count - 1)]))
                    ctx.set(dut.index[lane], index)
                await ctx.tick()
            for lane in range(3):
                ctx.set(dut.enable[lane], 0)
            kept = min(count, 4)
            expected = top_k_experts(tensor(values), kept).tolist()
            assert [ctx.get(index) for index in dut.indices][:kept] == expected, values
            assert ctx.get(dut.largest) == values.max()

    simulate(dut, bench)
