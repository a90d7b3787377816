"""Scores of the last key: cycles, room, and whose key it is."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.golden.arithmetic.linear import linear
from deltamoe.rtl.attention.last_key import LastKey
from deltamoe.sim.units import last_key
from tests.support.bench import drive, simulate
from tests.support.cases import HW, tensor


@pytest.mark.parametrize("changes", [
    {}, {"lanes": 16}, {"lanes": 32}, {"lanes": 64, "attention_lag": 7}], ids=str)
def test_each_operator_has_its_own_key(changes: dict, seed: int) -> None:
    """As many scores wait as there is room for; each came ``latency`` cycles after its query."""
    hw = replace(HW, last_key=True, max_embed=3 * 64, **changes)
    rng, word, dut = np.random.default_rng(seed), hw.word, LastKey(hw)

    async def feed(ctx, port, row):
        for n, part in enumerate(row.reshape(-1, word).tolist()):
            if rng.random() < 0.3:
                await ctx.tick()
            drive(ctx, port, valid=1, payload={"data": part, "last": n == row.size // word - 1})
            await ctx.tick()
            drive(ctx, port)

    async def bench(ctx):
        for heads, head_words in ((2, 1), (1, 2), (1, 1), (3, 1)):
            keys = rng.integers(-128, 128, (4, heads * head_words * word))
            for row in keys:
                await feed(ctx, dut.keys, row)
            queries = rng.integers(-128, 128, ((hw.attention_lag + 1), head_words * word))
            queries[0] = -128
            for number, query in enumerate(queries):
                await feed(ctx, dut.i, query)
                if number == 0:
                    await ctx.tick().repeat(LastKey.latency(hw) - 2)
                    assert not ctx.get(dut.o.valid)
                    await ctx.tick()
                    assert ctx.get(dut.o.valid)
            await ctx.tick().repeat(LastKey.latency(hw))
            for number, query in enumerate(queries):
                key = keys[3].reshape(heads, -1)[number % heads]
                assert ctx.get(dut.o.valid)
                assert ctx.get(dut.o.payload) == linear(
                    tensor(query[None]), tensor(key[None])).item()
                ctx.set(dut.o.ready, 1)
                await ctx.tick()
                ctx.set(dut.o.ready, 0)
            assert not ctx.get(dut.o.valid)
            for _ in range(-len(queries) % heads):    # a token has all of its heads
                await feed(ctx, dut.i, keys[0, : head_words * word])
                ctx.set(dut.o.ready, 1)
                await ctx.tick().repeat(LastKey.latency(hw))
                ctx.set(dut.o.ready, 0)

    simulate(dut, bench)


@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
def test_no_item_waits_for_a_score(lanes: int) -> None:
    assert last_key.slack(replace(HW, lanes=lanes, last_key=True, max_embed=64)) > 0
