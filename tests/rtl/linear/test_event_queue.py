"""Queues of events."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth import Module
from amaranth.hdl import Fragment

from deltamoe.rtl import formats
from deltamoe.rtl.linear.event_queue import EventQueue
from deltamoe.rtl.memory.block_memory import Collisions
from tests.support.bench import get, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


@pytest.mark.parametrize("block", [False, True], ids=["distributed", "block"])
@pytest.mark.parametrize("depth", [4, 5])
def test_event_queue_holds_its_depth_and_no_more(depth: int, block: bool) -> None:
    """Filled and emptied several times, so that its ring closes; no word is lost or repeated."""
    dut, rounds = EventQueue(replace(HW, block_queues=block), depth), 4

    async def bench(ctx):
        count = 0
        for _ in range(rounds):
            ctx.set(dut.o.ready, 0)
            ctx.set(dut.i.valid, 1)
            taken = []
            for _ in range(depth + 3):
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": [7] * P, "mask": 1, "row": count, "last": 1}))
                if ctx.get(dut.i.ready):
                    taken.append(count)
                    count += 1
                await ctx.tick()
            assert len(taken) == depth
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.o.ready, 1)
            for row in taken:
                assert ctx.get(dut.o.valid)
                assert ctx.get(dut.o.p.row) == row
                await ctx.tick()
            assert not ctx.get(dut.o.valid)

    simulate(dut, bench)


def test_both_memories_are_the_same_to_the_cycle(seed: int) -> None:
    """Words and events come and go in all mixtures; block memory is never asked for a row that is
    written in that cycle."""
    rng, m = np.random.default_rng(seed), Module()
    m.submodules.lut = lut = EventQueue(HW, 5)
    m.submodules.block = block = EventQueue(replace(HW, block_queues=True), 5)
    layout = formats.event_word(HW)

    async def bench(ctx):
        events = 0
        for cycle in range(1500):
            likely = (0.9, 0.5) if cycle // 100 % 2 else (0.3, 0.9)
            offers, takes = rng.random(2) < likely
            word = int.from_bytes(rng.bytes(-(-layout.size // 8))) % (1 << layout.size)
            for queue in (lut, block):
                ctx.set(queue.i.valid, int(offers))
                put(ctx, queue.i.payload, word)
                ctx.set(queue.o.ready, int(takes))
            assert ctx.get(lut.i.ready) == ctx.get(block.i.ready)
            assert ctx.get(lut.o.valid) == ctx.get(block.o.valid)
            if ctx.get(lut.o.valid):
                assert get(ctx, lut.o.payload) == get(ctx, block.o.payload)
                events += takes
            await ctx.tick()
        assert events > 400

    simulate(Fragment.get(m, Collisions()), bench)
