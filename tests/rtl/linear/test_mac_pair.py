"""A pair of multipliers, packed into one and not."""

import numpy as np
import pytest

from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.linear.mac_pair import MacPair
from tests.support.bench import simulate


@pytest.mark.parametrize("packed", [False, True])
def test_mac_pair_sums_runs(packed: bool, seed: int) -> None:
    """Runs of up to eight, the extremes of both products among them, with and without gaps."""
    rng = np.random.default_rng(seed)
    dut = MacPair(packed=packed)
    runs = [[(255 * s, 127 * a, 127 * b)] * RUN for s in (1, -1) for a in (1, -1) for b in (1, -1)]
    runs += [[(int(rng.integers(-255, 256)), int(rng.integers(-127, 128)),
               int(rng.integers(-127, 128))) for _ in range(rng.integers(1, RUN + 1))]
             for _ in range(60)]

    async def bench(ctx):
        pending = [(*event, n == 0, n == len(run) - 1, run) for run in runs
                   for n, event in enumerate(run)]
        ahead = [None] * 3
        while pending or any(ahead):
            event = pending.pop(0) if pending and rng.random() < 0.8 else None
            ahead = [event, *ahead[:3]]
            now, _, earlier, done = (*ahead, None)[:4]
            ctx.set(dut.w0, now[1] if now else 5)
            ctx.set(dut.w1, now[2] if now else -7)
            ctx.set(dut.delta, now[0] if now else 3)
            ctx.set(dut.begin, earlier[3] if earlier else 1)
            ctx.set(dut.valid, bool(earlier))
            if done and done[4]:
                for port, lane in ((dut.low, 1), (dut.high, 2)):
                    assert ctx.get(port) == sum(part[0] * part[lane] for part in done[5])
            await ctx.tick()

    simulate(dut, bench)
