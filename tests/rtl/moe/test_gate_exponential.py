"""The exponential of the gate."""

import numpy as np

from deltamoe.golden.arithmetic.gate import exponential as gate_exponential
from deltamoe.rtl.moe.gate_exponential import GateExponential
from tests.support.bench import simulate
from tests.support.cases import tensor


def test_gate_exponential(seed: int) -> None:
    rng = np.random.default_rng(seed)
    highest = 20000
    logits = [highest - int(d) for d in [*range(0, 5200, 7), 0, 256, 255, *rng.integers(
        0, 40000, 50)]]
    expected = gate_exponential(tensor([highest - logit for logit in logits])).tolist()
    dut = GateExponential(33)
    got = []

    async def bench(ctx):
        ctx.set(dut.multiplier, 1 << 14)
        for number, logit in enumerate([highest, *logits, *[0] * GateExponential.LATENCY]):
            ctx.set(dut.valid, number <= len(logits))
            ctx.set(dut.leads, number == 0)
            ctx.set(dut.logit, logit)
            *_, done, power = await ctx.tick().sample(dut.done, dut.power)
            if done:
                got.append(power)

    simulate(dut, bench)
    assert got == expected
    assert 0 in got
    assert 32767 in got
