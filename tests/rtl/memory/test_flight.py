"""Read bursts in flight: which is the oldest, and when it ends."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from deltamoe.rtl.memory.flight import Flight
from tests.support.bench import simulate
from tests.support.cases import HW


@pytest.mark.parametrize("outstanding", [1, 2, 3, 8])
@pytest.mark.parametrize("rate", [1.0, 0.5, 0.1], ids=["full rate", "stalls", "nearly full"])
def test_the_oldest_burst_is_there_a_cycle_after_it_came(outstanding: int, rate: float,
                                                         seed: int) -> None:
    """Outputs of every cycle, for bursts of one beat and more, offered whenever there is room."""
    rng = np.random.default_rng(seed)
    dut = Flight(replace(HW, outstanding=outstanding))
    bursts = deque((int(beats), int(last)) for beats, last in zip(
        rng.choice([1, 1, 2, 3, 16, 256], 60), rng.integers(0, 2, 60), strict=True))

    async def bench(ctx) -> None:
        flying: deque[list[int]] = deque()
        while bursts or flying:
            assert ctx.get(dut.i.ready) == (len(flying) < outstanding)
            assert ctx.get(dut.oldest.present) == bool(flying)
            if flying:
                assert ctx.get(dut.oldest.ends) == (flying[0][0] == 1)
                assert ctx.get(dut.oldest.last) == flying[0][1]
            offered = bool(bursts) and rng.random() < 0.8
            ctx.set(dut.i.valid, offered)
            if offered:
                ctx.set(dut.i.p, {"address": 0, "beats": bursts[0][0],
                                  "single": bursts[0][0] == 1, "last": bursts[0][1]})
            taken = bool(flying) and rng.random() < rate
            ctx.set(dut.oldest.taken, taken)
            arrives = offered and len(flying) < outstanding
            await ctx.tick()
            if taken:
                flying[0][0] -= 1
                if not flying[0][0]:
                    flying.popleft()
            if arrives:
                flying.append(list(bursts.popleft()))

    simulate(dut, bench)
