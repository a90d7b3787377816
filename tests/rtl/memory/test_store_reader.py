"""Transfers to memory."""

from collections import deque

import numpy as np
import pytest

from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.formats import STORING
from deltamoe.rtl.memory.dma_writer import DmaWriter
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.program import Store, Target
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.ports import Busy
from deltamoe.sim.units import store_reader
from deltamoe.sim.units.bursts import bursts
from tests.support.bench import put, simulate
from tests.support.case import pack
from tests.support.cases import HW

BITS = 8 * HW.bus_bytes


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("target", [Target.RESIDUAL, Target.STATE, Target.REFERENCE])
def test_store_reader_takes_the_simulated_cycles(target: Target, interval: int, seed: int) -> None:
    """Two transfers behind each other past a port that others use, to a writer with its pauses."""
    rng = np.random.default_rng(seed)
    dut, memory = StoreReader(HW), MemoryModel(9, interval)
    taken = rng.random(600) < (0 if target == Target.RESIDUAL else 0.6)
    words = rng.integers(0, 1 << 62, 200).tolist()
    transfers = [(10, 80, 6), (60, 4032, 20)]
    busy = Busy()
    for cycle in np.flatnonzero(taken).tolist():
        busy.add(cycle, cycle)
    stores = store_reader.StoreReader(
        HW, memory, {} if target == Target.RESIDUAL else {target: busy})
    stores.entered = [(0, Store(target=target, address=address, beats=beats))
                      for _, address, beats in transfers]
    stores.entered[1] = (1, stores.entered[1][1])

    def beat(base: int, number: int) -> int:
        if target == Target.STATE:
            return words[base + number // 2] ^ number % 2
        if target == Target.REFERENCE:
            low, high = (words[base + 2 * number + n] % (1 << BITS // 2) for n in range(2))
            return low | high << BITS // 2
        return words[base + number]

    async def bench(ctx):
        got, ends, left, next_write, opens, low = [], [], 0, 0, None, 0
        asked = deque([(199, 0)] * Residual.READ, maxlen=Residual.READ)
        for cycle in range(600):
            ctx.set(dut.transfers.requests.valid, cycle < len(transfers))
            if cycle < len(transfers):
                base, address, beats = transfers[cycle]
                put(ctx, dut.transfers.requests.payload, pack(STORING, {
                    "target": target, "base": base, "address": address, "beats": beats,
                    "position": cycle}))
            ctx.set(dut.read.granted, not taken[cycle - 1])
            word, half = asked[0]
            value = words[word] ^ (half if target == Target.STATE else 0)
            if target == Target.REFERENCE:
                value %= 1 << BITS // 2
                low = low if half else value
                value = low | value << BITS // 2
            ctx.set(dut.read.data, value)
            if ctx.get(dut.command.valid):
                assert ctx.get(dut.command.p.address) == transfers[len(ends)][1]
                lengths, opens = bursts(*transfers[len(ends)][1:], HW), cycle + 1
            ready = left > 0 and cycle >= next_write
            ctx.set(dut.o.ready, ready)
            whole = len(got) == sum(beats for *_, beats in transfers[: len(ends) + 1])
            ctx.set(dut.done, whole and cycle == got[-1][0] + memory.latency + DmaWriter.DONE)
            if ctx.get(dut.transfers.finished):
                assert ctx.get(dut.transfers.position) == len(ends)
                ends.append(cycle)
                if len(ends) == len(transfers):
                    break
            if ready and ctx.get(dut.o.valid):
                got.append((cycle, ctx.get(dut.o.payload)))
                left, next_write = left - 1, cycle + interval
                opens = cycle + 1 if not left and lengths else None
            elif opens is not None and cycle >= opens and not left:
                left, opens = lengths.pop(0), None
            asked.append((199, ctx.get(dut.read.half)) if taken[cycle] else (
                min(ctx.get(dut.read.address), 199), ctx.get(dut.read.half)))
            await ctx.tick()
        assert [value for _, value in got] == [
            beat(base, n) for base, _, beats in transfers for n in range(beats)]
        assert ends == [stores.end(n) for n in range(len(transfers))]

    simulate(dut, bench)


def test_store_reader_stops() -> None:
    """From then on ``o`` gets no beat, though words still come, and its payload is stable."""
    dut, seen = StoreReader(HW), []

    async def bench(ctx):
        put(ctx, dut.transfers.requests.payload, pack(STORING, {
            "target": Target.RESIDUAL, "beats": 9}))
        for port in (dut.transfers.requests.valid, dut.read.granted):
            ctx.set(port, 1)
        for cycle in range(20):
            ctx.set(dut.stop, cycle > 6)
            ctx.set(dut.o.ready, cycle > 9)
            ctx.set(dut.read.data, cycle)
            seen.append((ctx.get(dut.o.valid), ctx.get(dut.o.payload)))
            await ctx.tick()
            ctx.set(dut.transfers.requests.valid, 0)

    simulate(dut, bench)
    beats = [payload for valid, payload in seen[10:] if valid]
    assert 0 < len(beats) < StoreReader.AHEAD
    assert beats == list(range(beats[0], beats[0] + len(beats)))
    assert len(set(seen[10 + len(beats):])) == 1
