"""The residual stream."""

import numpy as np
import torch

from deltamoe.golden.arithmetic.requantize import saturate
from deltamoe.golden.arithmetic.residual import residual_add
from deltamoe.golden.numerics import RESIDUAL, UPDATE
from deltamoe.rtl import formats
from deltamoe.rtl.config import lower_half
from deltamoe.rtl.program import Dest
from deltamoe.rtl.writeback.residual import Residual
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


def test_residual_adds_and_saturates_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = Residual(HW)
    x = rng.integers(-32768, 32768, (8, P))
    steps = [(Dest.RESIDUAL, rng.integers(-(1 << 23), 1 << 23, (8, P))),
             (Dest.RESIDUAL, rng.integers(-9000, 9000, (8, P))),
             (Dest.COMBINE, rng.integers(-(1 << 17), 1 << 17, (8, P))),
             (Dest.COMBINE, rng.integers(-(1 << 17), 1 << 17, (8, P))),
             (Dest.RESIDUAL, rng.integers(-20000, 20000, (8, P)))]
    expected = torch.tensor(x)
    for _, y in steps[:2]:
        expected = residual_add(expected, torch.tensor(y))
    expected = residual_add(expected, torch.tensor(steps[2][1] + steps[3][1]))
    expected = residual_add(expected, torch.tensor(steps[4][1]))
    output = rng.integers(-32768, 32768, P)

    async def read(ctx, address: int) -> list[int]:
        ctx.set(dut.read.address, address)
        assert ctx.get(dut.read.granted)
        await ctx.tick()
        ctx.set(dut.read.address, 0)
        await ctx.tick().repeat(Residual.READ - 1)
        return [ctx.get(dut.read.data[n]) for n in range(P)]

    async def bench(ctx):
        for address in range(8):
            drive(ctx, dut.load, en=1, address=address, data=x[address].tolist())
            await ctx.tick()
        drive(ctx, dut.load)
        beyond = np.full((1, P), 1 << 17)
        for first, dest, rows in [*((0, *step) for step in steps), (8, Dest.COMBINE, beyond),
                                  (8, Dest.OUTPUT, output[None])]:
            for address, row in enumerate(rows, first):
                put(ctx, dut.i.payload, pack(formats.requantized(HW), {
                    "data": row.tolist(), "tag": {"dest": dest, "address": address}}))
                ctx.set(dut.i.valid, 1)
                assert not ctx.get(dut.read.granted), "the port reads what is added to"
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(Residual.LATENCY - 1)
        assert await read(ctx, 8) == output.tolist(), "the last word, as early as it may be read"
        for address in range(8):
            assert await read(ctx, address) == expected[address].tolist()

    simulate(dut, bench)
    inside = (expected.abs() < 32767).float().mean()
    assert 0.2 < inside < 1, "the sum saturates always or never"


EDGES = [edge + offset for bits in (14, 15, 21, 22, 23) for edge in (-1 << bits, 1 << bits)
         for offset in (-1, 0, 1, 77) if UPDATE.lowest <= edge + offset <= UPDATE.highest]
"""Values at which another bit begins to count."""


def test_residual_adds_to_a_half_while_the_other_is_loaded(seed: int) -> None:
    """Any destination behind any other, up to the last bit, and reads in between."""
    rng = np.random.default_rng(seed)
    dut, half = Residual(HW), lower_half(HW.residual_words)
    halves = (range(8), range(half, half + 8))
    x = {address: torch.zeros(P, dtype=torch.int64) for places in halves for address in places}
    ready = dict.fromkeys(x, 0)
    expected: dict[int, torch.Tensor] = {}
    checked = beyond = 0

    def added(address: int, dest: Dest) -> list[int]:
        """Draw what is added, so that the result is often at an edge."""
        results = np.where(rng.random(P) < 0.7, rng.choice(EDGES, P),
                           rng.integers(RESIDUAL.lowest, RESIDUAL.highest + 1, P))
        before = x[address].numpy() if dest == Dest.COMBINE else np.zeros(P, dtype=np.int64)
        return np.clip(results - before, UPDATE.lowest, UPDATE.highest).tolist()

    async def bench(ctx):
        nonlocal checked, beyond
        for cycle in range(600):
            phase, time = divmod(cycle, 50)
            free = [address for address in x if ready[address] <= cycle]
            adds = [address for address in free if address in halves[phase % 2]]
            loads = [address for address in free if address in halves[1 - phase % 2]]
            drive(ctx, dut.load)
            if time > Residual.LATENCY and rng.random() < 0.3:
                address, row = int(rng.choice(loads)), rng.integers(-32768, 32768, P)
                drive(ctx, dut.load, en=1, address=address, data=row.tolist())
                x[address], ready[address] = torch.tensor(row), cycle + 1
            adding = bool(adds) and rng.random() < 0.6
            ctx.set(dut.i.valid, adding)
            assert ctx.get(dut.read.granted) == (not adding)
            address = int(rng.choice([a for a in free if ready[a] <= cycle]))
            ctx.set(dut.read.address, address)
            if not adding:
                expected[cycle + Residual.READ] = saturate(x[address], RESIDUAL)
            else:
                address = int(rng.choice(adds))
                dest = rng.choice([Dest.RESIDUAL, Dest.COMBINE, Dest.OUTPUT])
                row = added(address, dest)
                put(ctx, dut.i.payload, pack(formats.requantized(HW), {
                    "data": row, "tag": {"dest": int(dest), "address": address}}))
                y = torch.tensor(row)
                if dest == Dest.COMBINE:
                    x[address] = x[address] + y
                else:
                    x[address] = residual_add(
                        saturate(x[address], RESIDUAL) if dest == Dest.RESIDUAL else 0, y)
                beyond += int((x[address].abs() > 1 << 22).any())
                ready[address] = cycle + Residual.LATENCY
            if cycle in expected:
                read = [ctx.get(dut.read.data[n]) for n in range(P)]
                assert read == expected.pop(cycle).tolist()
                checked += 1
            await ctx.tick()

    simulate(dut, bench)
    assert checked > 100
    assert beyond > 20
