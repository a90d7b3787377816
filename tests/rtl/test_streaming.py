"""State on its way between memory and chip: loaded, stored, and the words that it passes."""

from collections import deque

import numpy as np
import pytest
import torch
from amaranth import Value

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.rtl.compiler.kept_state import Window
from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.formats import STORING
from deltamoe.rtl.memory.dma_writer import DmaWriter
from deltamoe.rtl.memory.loader import Loader
from deltamoe.rtl.memory.store_ports import StorePorts
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.program import Load, Store, Target
from deltamoe.rtl.temporal.kept_sums import KeptSums
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.ports import Busy
from deltamoe.sim.units import store_reader
from deltamoe.sim.units.bursts import bursts
from tests.support.bench import drive, put, simulate
from tests.support.case import encoded, pack

HW = PRESETS["nano"]
P = HW.word
BITS = 8 * HW.bus_bytes


@pytest.mark.parametrize("target", [Target.STATE, Target.REFERENCE])
def test_loader_places_what_is_kept(target: Target, seed: int) -> None:
    """Word by word, whenever nobody else writes there."""
    rng = np.random.default_rng(seed)
    beats = rng.integers(0, 1 << 62, 8).tolist()
    whole = b"".join(beat.to_bytes(HW.bus_bytes, "little") for beat in beats)
    size = 4 * P if target == Target.STATE else P
    expected = [(30 + n, int.from_bytes(whole[n * size :][:size], "little"))
                for n in range(len(whole) // size)]
    dut = Loader(HW)

    async def bench(ctx):
        put(ctx, dut.transfer.payload, encoded(Load(target=target, base=30)))
        ctx.set(dut.transfer.valid, 1)
        kept = dut.loads.kept
        port = kept.state if target == Target.STATE else kept.reference
        placed, number, cycles = [], 0, 0
        while number < len(beats):
            put(ctx, dut.i.payload, beats[number] | (number == len(beats) - 1) << BITS)
            ctx.set(dut.i.valid, 1)
            ctx.set(port.free, int(rng.integers(2)))
            if ctx.get(port.en):
                assert ctx.get(port.free), "someone else writes"
                placed.append((ctx.get(port.address), ctx.get(Value.cast(port.data))))
            taken = ctx.get(dut.i.ready)
            assert ctx.get(dut.transfer.ready) == (taken and number == len(beats) - 1)
            number += taken
            cycles += 1
            assert cycles < 200
            await ctx.tick()
        assert placed == expected

    simulate(dut, bench)


def test_kept_sums_take_words_from_memory_and_give_them_back(seed: int) -> None:
    """A loaded word is added to like one that was kept; reading makes way for operators."""
    rng = np.random.default_rng(seed)
    dut, rows, most = KeptSums(HW), 6, 1 << HW.acc_width - 2
    loaded = rng.integers(-most, most, (rows, P))
    loaded[0, :2] = -most, most - 1
    weight = torch.tensor(rng.integers(-127, 128, (P, 5)))
    x = torch.tensor(rng.integers(-128, 128, (rows, 5)))
    events, expected = linear(x, weight), linear(x, weight).numpy() + loaded

    async def bench(ctx):
        for row in range(rows):
            drive(ctx, dut.load, en=1, address=40 + row, data=loaded[row].tolist())
            for n in range(P):
                ctx.set(dut.acc[n], 99)
            await ctx.tick()
        drive(ctx, dut.load)
        await ctx.tick().repeat(KeptSums.LATENCY)
        for row in range(rows):
            for n in range(P):
                ctx.set(dut.acc[n], int(events[row, n]))
            ctx.set(dut.store.address, 7)
            put(ctx, dut.kept.where, pack(dut.kept.where.shape(), {
                "state": 40 + row, "accumulates": 1, "stores": 1}))
            assert not ctx.get(dut.store.granted)
            await ctx.tick()
        put(ctx, dut.kept.where, 0)
        await ctx.tick().repeat(KeptSums.LATENCY)
        for row in range(rows):
            ctx.set(dut.store.address, 40 + row)
            assert ctx.get(dut.store.granted)
            await ctx.tick()
            assert [ctx.get(dut.store.data[n]) for n in range(P)] == expected[row].tolist()

    simulate(dut, bench)


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


def test_store_ports_choose_one_of_four_beats(seed: int) -> None:
    """A beat comes ``Residual.READ`` cycles after its address, whatever is asked for then."""
    rng = np.random.default_rng(seed)
    dut, most = StorePorts(HW), 1 << HW.acc_width - 1
    residual, sums = rng.integers(-(1 << 15), 1 << 15, P), rng.integers(-most, most, P)
    low, high, other = rng.integers(0, 1 << 8, (3, P))
    wide = sums.astype("<i4").tobytes()

    async def read(ctx, target: Target, half: int, port, data, granted: int = 1) -> None:
        """Ask for a word of a memory that answers when it does."""
        drive(ctx, dut.store, running=1, target=target, half=half, address=5)
        ctx.set(dut.rows.address, 9)
        ctx.set(port.granted, granted)
        assert ctx.get(port.address) == 5
        await ctx.tick()
        assert ctx.get(dut.store.granted) == granted
        drive(ctx, dut.store, running=1, target=target, half=1, address=6)
        for n in range(P):
            ctx.set(port.data[n], 0 if port is dut.residual else int(data[n]))
        await ctx.tick()
        for n in range(P):
            ctx.set(port.data[n], int(data[n]) if port is dut.residual else 0)

    async def bench(ctx):
        def beat() -> bytes:
            return ctx.get(dut.store.data).to_bytes(HW.bus_bytes, "little")

        await read(ctx, Target.RESIDUAL, 0, dut.residual, residual)
        assert beat() == residual.astype("<i2").tobytes()
        for half in range(2):
            await read(ctx, Target.STATE, half, dut.sums, sums)
            assert beat() == wide[half * HW.bus_bytes :][: HW.bus_bytes]
        for words, granted in ((low, 1), (other, 0), (high, 1)):
            await read(ctx, Target.REFERENCE, words is not low, dut.references, words, granted)
        assert beat() == low.astype(np.uint8).tobytes() + high.astype(np.uint8).tobytes()
        await read(ctx, Target.RESIDUAL, 0, dut.residual, residual, granted=0)
        drive(ctx, dut.store, target=Target.RESIDUAL)
        assert ctx.get(dut.residual.address) == 9, "nobody stores"
        assert ctx.get(Value.cast(dut.rows.data)) == int.from_bytes(
            residual.astype("<i2").tobytes(), "little")

    simulate(dut, bench)


def test_windows_are_handed_out_round_and_round() -> None:
    window = Window(100, 10, "state_words")
    assert window.take(6, "a") == (100, 0, 0)
    window.use(100, 6, stores=3)
    assert window.take(4, "b") == (106, 0, 0)
    window.use(106, 4, computes=7)
    assert window.take(7, "c") == (100, 7, 3)
    with pytest.raises(ValueError, match="d keeps 11 state_words at a time, the hardware has 10"):
        window.take(11, "d")


def test_busy_ports() -> None:
    busy = Busy()
    for first, last in ((3, 4), (5, 5), (9, 12)):
        busy.add(first, last)
    assert [busy.free(cycle) for cycle in (2, 3, 5, 6, 9, 12, 13)] == [2, 6, 6, 6, 13, 13, 13]
