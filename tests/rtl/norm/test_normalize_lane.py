"""One lane of the normalization."""

import numpy as np

from deltamoe.golden.arithmetic.requantize import round_shift, saturate
from deltamoe.golden.numerics import ACTIVATION
from deltamoe.rtl.norm.normalize_lane import NormalizeLane
from tests.support.bench import drive, simulate
from tests.support.cases import tensor


def test_normalize_lane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases, inner = [], 0
    for _ in range(120):
        dim, shift = 192, int(rng.integers(0, 16))
        x, total = int(rng.integers(-32768, 32768)), int(rng.integers(-(1 << 20), 1 << 20))
        m, half = int(rng.integers(20000, 65536)), int(rng.integers(8, 25))
        gain, bias = int(rng.integers(-32768, 32768)), int(rng.integers(-(1 << 31), 1 << 31))
        z = round_shift(tensor((dim * x - total) * m), 4 + half)
        if not -(1 << 19) <= int(z) < 1 << 19:
            continue
        y = saturate(round_shift(z * gain + bias, shift + 12), ACTIVATION)
        inner += abs(int(y)) < 127
        cases.append((dim, x, total, m, half, gain, bias, shift, int(y)))
    assert inner > 0.2 * len(cases)
    dut = NormalizeLane()

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        for dim, x, total, m, half, gain, bias, shift, y in cases:
            drive(ctx, dut.element, x=x, gain=gain, bias=bias)
            drive(ctx, dut.row, dim=dim, sum=total, multiplier=m, half_exponent=half,
                  gain_shift=shift)
            await ctx.tick().repeat(NormalizeLane.LATENCY)
            assert ctx.get(dut.y) == y

    simulate(dut, bench)
