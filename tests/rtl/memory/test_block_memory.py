"""Block memory: its rows, and the platform that inverts a row that is read while it is written."""

import numpy as np
import pytest
from amaranth import Module, Value
from amaranth.hdl import Fragment
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from deltamoe.rtl.memory.block_memory import BlockMemory, Collisions

DEPTH = 5
ROW = data.ArrayLayout(4, 2)


@pytest.mark.parametrize("platform", [None, Collisions()], ids=["plain", "collisions"])
@pytest.mark.parametrize("block", [True, False], ids=["block", "other"])
def test_rows_and_collisions(platform: Collisions | None, *, block: bool, seed: int) -> None:
    """A row comes in the next cycle, inverted if it is block memory that is written meanwhile."""
    rng, m = np.random.default_rng(seed), Module()
    m.submodules.rows = rows = BlockMemory(ROW, DEPTH) if block else Memory(
        shape=ROW, depth=DEPTH, init=[])
    write, read = rows.write_port(granularity=1), rows.read_port()
    stored, collisions = [0] * DEPTH, 0

    async def bench(ctx):
        nonlocal collisions
        expected = 0
        for _ in range(400):
            target, source, value = (int(rng.integers(0, limit)) for limit in (DEPTH, DEPTH, 256))
            parts, reads = int(rng.integers(0, 4)), int(rng.integers(0, 2))
            for signal, driven in ((write.en, parts), (write.addr, target), (read.en, reads),
                                   (read.addr, source), (Value.cast(write.data), value)):
                ctx.set(signal, driven)
            if reads:
                collides = parts != 0 and target == source
                collisions += collides
                inverts = collides and block and platform is not None
                expected = stored[source] ^ (0xFF if inverts else 0)
            mask = 0x0F * (parts & 1) | 0xF0 * (parts >> 1)
            stored[target] = stored[target] & ~mask | value & mask
            await ctx.tick()
            assert ctx.get(Value.cast(read.data)) == expected
        assert collisions > 10

    simulator = Simulator(Fragment.get(m, platform))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
