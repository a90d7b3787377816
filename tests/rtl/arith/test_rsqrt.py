"""The reciprocal square root."""

import numpy as np

from deltamoe.golden.arithmetic.layer_norm import reciprocal_root
from deltamoe.rtl.arith.rsqrt import Rsqrt
from tests.support.bench import simulate
from tests.support.cases import tensor


def test_rsqrt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [1, 2, 3, 4, (1 << 52) - 1, 1 << 30, (1 << 30) - 1, 1 << 31, (1 << 32) - 1]
    values += [int(2 ** rng.uniform(0, 52)) for _ in range(60)]
    m, half = reciprocal_root(tensor(values))
    every, _ = reciprocal_root(tensor(np.arange(1 << 16, 1 << 18)) << 14)
    assert every.max() < 65535, "the unit does not saturate"
    dut = Rsqrt()

    async def bench(ctx):
        for number, value in enumerate(values):
            ctx.set(dut.value, value)
            await ctx.tick().repeat(Rsqrt.LATENCY)
            assert ctx.get(dut.reciprocal.multiplier) == int(m[number]), value
            assert ctx.get(dut.reciprocal.half_exponent) == int(half[number]), value

    simulate(dut, bench)
