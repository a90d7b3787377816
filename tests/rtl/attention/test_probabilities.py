"""Probabilities of the last rows."""

import numpy as np

from deltamoe.golden.arithmetic.softmax import normalizer, softmax
from deltamoe.rtl import formats
from deltamoe.rtl.attention.probabilities import Probabilities
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.cycles import Divider
from deltamoe.rtl.program import Attention
from tests.support.bench import put, simulate
from tests.support.case import encoded
from tests.support.cases import HW, P, tensor, words_of


def test_probabilities_keep_the_last_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, tokens = HW.attention_lag + 1, 7
    rows = rng.integers(-500, 500, (slots + 2, tokens))
    kappa22, kappa26 = 2 << 22, 2 << 26
    dut = Probabilities(HW)

    async def bench(ctx):
        put(ctx, dut.operator.descriptor, encoded(Attention(kappa22=kappa22, kappa26=kappa26)))
        ctx.set(dut.operator.start, 1)
        await ctx.tick()
        ctx.set(dut.operator.start, 0)
        freed = 0
        for number, row in enumerate(rows):
            for word in words_of(row.tolist(), formats.scores(P), P):
                put(ctx, dut.i.payload, word)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            for _ in range(60):
                freed += ctx.get(dut.freed)
                await ctx.tick()
            assert (ctx.get(dut.rows), freed) == (number + 1, number + 1)
        for number in range(2, slots + 2):
            e, total = softmax(tensor(rows[number]))
            multiplier, shift = normalizer(total, kappa22, kappa26)
            slot = number % slots
            ctx.set(dut.normalizers.address, slot)
            assert ctx.get(dut.normalizers.data.multiplier) == int(multiplier)
            assert 14 + 4 * ctx.get(dut.normalizers.data.shift) == int(shift)
            got = []
            for word in range(-(-tokens // P)):
                ctx.set(dut.read.address, slot * HW.row_words + word)
                await ctx.tick()
                got += [ctx.get(dut.read.data[n]) for n in range(P)]
            assert got == e.tolist() + [0] * (len(got) - tokens)

    simulate(dut, bench)


def test_a_row_counts_when_its_division_begins() -> None:
    """The next operator may begin before the last normalizer is there, which keeps its slot."""
    dut, row, kappa = Probabilities(HW), [3, -90, 40], 1 << 22
    multipliers = [int(normalizer(softmax(tensor(row))[1], kappa * scale, 1 << 30)[0])
                   for scale in (1, 1, 3)]

    async def bench(ctx):
        async def start(kappa22: int) -> None:
            put(ctx, dut.operator.descriptor, encoded(Attention(kappa22=kappa22,
                                                                kappa26=1 << 30)))
            ctx.set(dut.operator.start, 1)
            await ctx.tick()
            ctx.set(dut.operator.start, 0)

        async def enter() -> None:
            put(ctx, dut.i.payload, words_of(row, formats.scores(P), P)[0])
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)

        def multiplier(slot: int) -> int:
            ctx.set(dut.normalizers.address, slot)
            return ctx.get(dut.normalizers.data.multiplier)

        await start(kappa)
        for _ in range(2):
            await enter()
        while not ctx.get(dut.freed):
            await ctx.tick()
        await ctx.tick().repeat(Softmax.summed(HW) + 1)
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (1, 0, 0)
        await ctx.tick()
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (2, 0, 0)
        await start(3 * kappa)
        await ctx.tick().repeat(Divider.LATENCY)
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (0, *multipliers[:2])
        await enter()
        await ctx.tick().repeat(60)
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (
            1, multipliers[2], multipliers[1])

    simulate(dut, bench)
