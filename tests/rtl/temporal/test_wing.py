"""What is kept from frame to frame, or its absence."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.rtl.temporal.kept_sums import KeptSums
from deltamoe.rtl.temporal.wing import TemporalWing
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


@pytest.mark.parametrize("keeps", [True, False])
def test_wing_keeps_sums_and_references_or_lets_sums_pass(keeps: bool, seed: int) -> None:
    """A word is added to its place a second time; what operands recall comes before ``STORE``."""
    rng = np.random.default_rng(seed)
    hw = HW if keeps else replace(HW, state_words=0, reference_words=0)
    dut, late = TemporalWing(hw), KeptSums.LATENCY if keeps else 0
    sums, words = rng.integers(-1000, 1000, (2, P)), rng.integers(0, 256, (2, P))

    async def step(ctx) -> None:
        await (ctx.tick() if keeps else ctx.delay(1e-6))

    async def show(ctx, acc, accumulates: bool) -> list[int]:
        for n in range(P):
            ctx.set(dut.computed.acc[n], int(acc[n]))
        put(ctx, dut.kept.where, pack(dut.kept.where.shape(), {
            "state": 9, "accumulates": accumulates, "stores": 1} if keeps else {}))
        assert ctx.get(dut.counts.kept_words) == keeps
        for _ in range(late):
            await step(ctx)
            put(ctx, dut.kept.where, 0)
        return [ctx.get(dut.sums.acc[n]) for n in range(P)]

    async def bench(ctx):
        assert await show(ctx, sums[0], False) == sums[0].tolist()
        await step(ctx)
        assert await show(ctx, sums[1], True) == (sums[1] + (sums[0] if keeps else 0)).tolist()
        for place, word in enumerate(words):
            drive(ctx, dut.update, en=1, address=place if keeps else 0, data=word.tolist())
            await step(ctx)
        drive(ctx, dut.update)
        for recalls in (1, 0):
            drive(ctx, dut.recall, **({"recalls": recalls, "address": 1} if keeps else {}))
            drive(ctx, dut.references)
            assert ctx.get(dut.references.granted) == (keeps and not recalls)
            await step(ctx)
            expected = words[recalls].tolist() if keeps else [0] * P
            assert [ctx.get(dut.recall.data[n]) for n in range(P)] == expected
            assert [ctx.get(dut.references.data[n]) for n in range(P)] == expected

    simulate(dut, bench, clocked=keeps)
