"""The exponential of the gate."""

import numpy as np
import pytest

from deltamoe.golden.arithmetic.gate import exponential as gate_exponential
from deltamoe.golden.numerics import SCORE
from deltamoe.rtl.moe.gate_exponential import GateExponential
from tests.support.bench import simulate
from tests.support.cases import tensor


def powers(multiplier: int, first: int, logits: list[int]) -> list[int]:
    """Return the exponentials of logits, one a cycle, of which ``first`` is the highest."""
    dut, got = GateExponential(33), []

    async def bench(ctx):
        ctx.set(dut.multiplier, multiplier)
        for number, logit in enumerate([first, *logits, *[0] * GateExponential.LATENCY]):
            ctx.set(dut.valid, number <= len(logits))
            ctx.set(dut.leads, number == 0)
            ctx.set(dut.logit, logit)
            *_, done, power = await ctx.tick().sample(dut.done, dut.power)
            if done:
                got.append(power)

    simulate(dut, bench)
    return got


def test_gate_exponential(seed: int) -> None:
    rng = np.random.default_rng(seed)
    highest = 20000
    logits = [highest - int(d) for d in [*range(0, 5200, 7), 0, 256, 255, *rng.integers(
        0, 40000, 50)]]
    expected = gate_exponential(tensor([highest - logit for logit in logits])).tolist()
    got = powers(1 << 14, highest, logits)
    assert got == expected
    assert 0 in got
    assert 32767 in got


@pytest.mark.parametrize("highest", [SCORE.highest, SCORE.lowest + 500])
def test_scaled_logits_are_clamped(highest: int, seed: int) -> None:
    """Halves of a unit are rounded, and what is then beyond a score is clamped, each for itself."""
    rng = np.random.default_rng(seed)
    edges = [2 * limit + d for limit in (SCORE.lowest, SCORE.highest) for d in range(-3, 4)]
    logits = rng.permutation([*edges * 2, *rng.integers(2 * highest - 900, 2 * highest + 1, 30),
                              *rng.integers(-200_000, 200_000, 20)]).tolist()
    scaled = np.clip((np.array(logits) + 1) >> 1, SCORE.lowest, highest)
    logits = [min(logit, 2 * highest) if highest < SCORE.highest else logit for logit in logits]
    first = 2 * highest if highest < SCORE.highest else 2 * highest + 50_000
    assert powers(1 << 13, first, logits) == gate_exponential(tensor(highest - scaled)).tolist()
