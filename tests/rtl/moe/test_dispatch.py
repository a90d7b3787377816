"""Queues of tokens by expert."""

import numpy as np
import torch

from deltamoe.golden.arithmetic.moe import routed_tokens
from deltamoe.rtl import formats
from deltamoe.rtl.moe.dispatch import Dispatch
from tests.support.bench import put, simulate
from tests.support.case import pack
from tests.support.cases import HW


def test_dispatch_holds_any_routing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut, tokens, k = Dispatch(HW), HW.max_tokens, 2
    routings = [np.stack([rng.permutation(HW.max_experts)[:k] for _ in range(tokens)]),
                np.tile([3, 0], (tokens, 1))]

    async def bench(ctx):
        for experts in routings:
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            await ctx.tick()
            weights = rng.integers(0, 1 << 16, (tokens, k))
            for token in range(tokens):
                for choice in range(k):
                    put(ctx, dut.i.payload, pack(formats.route(HW), {
                        "expert": int(experts[token, choice]),
                        "weight": int(weights[token, choice]), "last": choice == k - 1}))
                    ctx.set(dut.i.valid, 1)
                    await ctx.tick()
                ctx.set(dut.i.valid, 0)
                if token < tokens - 1:
                    await ctx.tick()
            assert ctx.get(dut.tokens) == tokens
            ctx.set(dut.queues.lengths.address, final := int(experts[-1, -1]))
            ctx.set(dut.read.address, final * HW.max_tokens
                    + ctx.get(dut.queues.lengths.data) - 1)
            await ctx.tick()
            assert ctx.get(dut.read.data.token) == tokens - 1, "read in the cycle after its route"
            for expert in range(HW.max_experts):
                routed = routed_tokens(torch.tensor(experts), expert).tolist()
                ctx.set(dut.queues.lengths.address, expert)
                ctx.set(dut.queues.occupied.address, expert)
                assert ctx.get(dut.queues.lengths.data) == len(routed)
                assert ctx.get(dut.queues.occupied.data) == bool(routed)
                for index, token in enumerate(routed):
                    ctx.set(dut.read.address, expert * HW.max_tokens + index)
                    await ctx.tick()
                    choice = experts[token].tolist().index(expert)
                    assert (ctx.get(dut.read.data.token), ctx.get(dut.read.data.weight)) == (
                        token, weights[token, choice])

    simulate(dut, bench)


def test_dispatch_sets_unchanged_tokens_apart(seed: int) -> None:
    """First as dense layers use it, straight from the probe, then behind a gate."""
    rng = np.random.default_rng(seed)
    dut, tokens, k = Dispatch(HW), 12, 3
    changed = rng.integers(0, 2, tokens)
    experts = np.stack([rng.permutation(HW.max_experts)[:k] for _ in range(tokens)])
    slots = np.stack([rng.permutation(k) for _ in range(tokens)])

    async def read(ctx, queue: int) -> list[tuple[int, int, int]]:
        ctx.set(dut.queues.lengths.address, queue)
        entries, entry = [], dut.read.data
        for index in range(ctx.get(dut.queues.lengths.data)):
            ctx.set(dut.read.address, queue * HW.max_tokens + index)
            await ctx.tick()
            entries.append((ctx.get(entry.token), ctx.get(entry.place), ctx.get(entry.known)))
        return entries

    async def bench(ctx):
        for token in range(tokens):
            put(ctx, dut.probed.payload, pack(formats.probed(HW), {
                "row": token, "changed": int(changed[token]), "routes": 1}))
            ctx.set(dut.probed.valid, 1)
            await ctx.tick()
        ctx.set(dut.probed.valid, 0)
        for queue, value in ((0, 1), (HW.max_experts, 0)):
            assert await read(ctx, queue) == [(t, t, 0) for t in np.flatnonzero(changed == value)]
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        ctx.set(dut.gated, 1)
        for row, places in zip(experts, slots, strict=True):
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
            for choice, expert in enumerate(row):
                put(ctx, dut.i.payload, pack(formats.route(HW), {
                    "expert": int(expert), "weight": 7, "last": choice == k - 1,
                    "slot": int(places[choice]), "known": int(expert) % 2}))
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for expert in range(HW.max_experts):
            for queue, value in ((expert, 1), (expert + HW.max_experts, 0)):
                wanted = [(token, k * token + slots[token][row.tolist().index(expert)], expert % 2)
                          for token, row in enumerate(experts)
                          if expert in row and changed[token] == value]
                assert await read(ctx, queue) == wanted

    simulate(dut, bench)
    assert 0 < changed.sum() < tokens
