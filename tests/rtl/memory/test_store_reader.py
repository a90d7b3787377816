"""Transfers to memory."""

from collections import deque

import numpy as np
import pytest

from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.formats import COMMAND, STORING
from deltamoe.rtl.memory.dma_writer import DmaWriter
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.program import Store, Target
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.ports import Busy
from deltamoe.sim.units import store_reader
from deltamoe.sim.units.bursts import bursts
from tests.support.bench import get, put, simulate
from tests.support.case import pack
from tests.support.cases import HW

BITS = 8 * HW.bus_bytes
PAUSES = {"full_rate": (1, False), "stalls": (0.1, False), "valid_first": (0.5, True)}
"""How often a writer is ready, and whether only after it has seen a beat."""


class Memories:
    """Words of what a store reads, which come ``Residual.READ`` cycles after their address."""

    def __init__(self, words: list[int]) -> None:
        self.words, self.low = words, 0
        self.asked = deque([(Target.RESIDUAL, 0, 0)] * Residual.READ, maxlen=Residual.READ)

    def beat(self, target: Target, base: int, number: int) -> int:
        """Return a beat of a transfer from ``base`` on."""
        if target == Target.STATE:
            return self.words[base + number // 2] ^ number % 2
        if target == Target.REFERENCE:
            low, high = (self.words[base + 2 * number + n] % (1 << BITS // 2) for n in range(2))
            return low | high << BITS // 2
        return self.words[base + number]

    def answer(self) -> int:
        """Return the data of this cycle."""
        target, word, half = self.asked[0]
        value = self.words[word] ^ (half if target == Target.STATE else 0)
        if target != Target.REFERENCE:
            return value
        value %= 1 << BITS // 2
        self.low = self.low if half else value
        return self.low | value << BITS // 2

    def ask(self, ctx, dut: StoreReader, granted: bool) -> None:
        """Read what is asked for in this cycle, or what somebody else does."""
        last = len(self.words) - 1
        self.asked.append((
            Target(ctx.get(dut.read.target)),
            min(ctx.get(dut.read.address), last) if granted else last, ctx.get(dut.read.half)))


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("target", [Target.RESIDUAL, Target.STATE, Target.REFERENCE])
def test_store_reader_takes_the_simulated_cycles(target: Target, interval: int, seed: int) -> None:
    """Two transfers behind each other past a port that others use, to a writer with its pauses."""
    rng = np.random.default_rng(seed)
    dut, memory = StoreReader(HW), MemoryModel(9, interval)
    taken = rng.random(600) < (0 if target == Target.RESIDUAL else 0.6)
    memories = Memories(rng.integers(0, 1 << 62, 200).tolist())
    transfers = [(10, 80, 6), (60, 4032, 20)]
    busy = Busy()
    for cycle in np.flatnonzero(taken).tolist():
        busy.add(cycle, cycle)
    stores = store_reader.StoreReader(
        HW, memory, {} if target == Target.RESIDUAL else {target: busy})
    stores.entered = [(0, Store(target=target, address=address, beats=beats))
                      for _, address, beats in transfers]
    stores.entered[1] = (1, stores.entered[1][1])

    async def bench(ctx):
        got, ends, left, next_write, opens = [], [], 0, 0, None
        for cycle in range(600):
            ctx.set(dut.transfers.requests.valid, cycle < len(transfers))
            if cycle < len(transfers):
                base, address, beats = transfers[cycle]
                put(ctx, dut.transfers.requests.payload, pack(STORING, {
                    "target": target, "base": base, "address": address, "beats": beats,
                    "position": cycle}))
            ctx.set(dut.read.granted, not taken[cycle - 1])
            ctx.set(dut.read.data, memories.answer())
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
            memories.ask(ctx, dut, not taken[cycle])
            await ctx.tick()
        assert [value for _, value in got] == [
            memories.beat(target, base, n) for base, _, beats in transfers for n in range(beats)]
        assert ends == [stores.end(n) for n in range(len(transfers))]

    simulate(dut, bench)


@pytest.mark.parametrize("pattern", PAUSES)
def test_store_reader_runs_all_that_wait_in_order(pattern: str, seed: int) -> None:
    """Past a writer with pauses of any length, of any memory behind any other."""
    rng, dut = np.random.default_rng(seed), StoreReader(HW)
    often, valid_first = PAUSES[pattern]
    memories = Memories(rng.integers(0, 1 << 62, 200).tolist())
    transfers = [{"target": int(rng.choice([Target.RESIDUAL, Target.STATE, Target.REFERENCE])),
                  "base": int(rng.integers(100)), "address": int(rng.integers(1 << 32)),
                  "beats": 2 * int(rng.integers(1, 12)), "position": position + 40}
                 for position in range(StoreReader.DEPTH)]
    memory_base = int(rng.integers(1 << 39))
    got, commands, ends = [], [], []

    async def bench(ctx):
        ctx.set(dut.transfers.memory_base, memory_base)
        granted, last, seen = False, None, 0
        for cycle in range(8000):
            entering = cycle < len(transfers)
            ctx.set(dut.transfers.requests.valid, entering)
            if entering:
                put(ctx, dut.transfers.requests.payload, pack(STORING, transfers[cycle]))
            ctx.set(dut.read.granted, granted)
            ctx.set(dut.read.data, memories.answer())
            # the writer takes what its command asks for, and nothing else
            writes = len(commands) > len(ends) and cycle > commands[-1][0] and last is None
            ready = writes and bool(rng.random() < often) and (seen or not valid_first)
            ctx.set(dut.o.ready, ready)
            ends_now = last is not None and cycle == last + 7
            ctx.set(dut.done, ends_now)
            if ctx.get(dut.command.valid):
                commands.append((cycle, get(ctx, dut.command.payload)))
            seen = ctx.get(dut.o.valid)
            if seen and ready:
                got.append(ctx.get(dut.o.payload))
                if len(got) == sum(one["beats"] for one in transfers[: len(ends) + 1]):
                    last = cycle
            assert ctx.get(dut.transfers.finished) == ends_now
            if ends_now:
                assert ctx.get(dut.transfers.position) == transfers[len(ends)]["position"]
                ends.append(cycle)
                last = None
                if len(ends) == len(transfers):
                    break
            granted = bool(rng.random() < 0.8)
            memories.ask(ctx, dut, granted)
            await ctx.tick()

    simulate(dut, bench)
    assert commands == [
        (begun + 1, pack(COMMAND, {"address": memory_base + one["address"], "beats": one["beats"]}))
        for begun, one in zip([0, *ends], transfers, strict=False)]
    assert got == [memories.beat(Target(one["target"]), one["base"], number)
                   for one in transfers for number in range(one["beats"])]


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
