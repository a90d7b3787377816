"""The queue is full or empty in the cycles in which it is, and in no other."""

from collections import deque

import numpy as np
import pytest
from amaranth.hdl import Fragment

from deltamoe.rtl.memory.block_memory import Collisions
from deltamoe.rtl.stream.fifo import Fifo
from tests.support.bench import simulate


@pytest.mark.parametrize("block", [False, True], ids=["distributed", "block"])
@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_full_and_empty(depth: int, block: bool, seed: int) -> None:
    """Words come and go in all mixtures: mostly in, mostly out, both at once."""
    rng, dut = np.random.default_rng(seed), Fifo(8, depth, block=block)

    async def bench(ctx):
        held: deque[int] = deque()
        for cycle in range(400):
            likely = (0.9, 0.5) if cycle // 50 % 2 else (0.5, 0.9)
            offers, takes = rng.random(2) < likely
            word = int(rng.integers(256))
            assert ctx.get(dut.i.ready) == (len(held) < depth)
            assert ctx.get(dut.o.valid) == bool(held)
            if held:
                assert ctx.get(dut.o.payload) == held[0]
            ctx.set(dut.i.valid, int(offers))
            ctx.set(dut.i.payload, word)
            ctx.set(dut.o.ready, int(takes))
            enters, leaves = offers and len(held) < depth, takes and held
            await ctx.tick()
            if leaves:
                held.popleft()
            if enters:
                held.append(word)

    simulate(Fragment.get(dut, Collisions()), bench)
