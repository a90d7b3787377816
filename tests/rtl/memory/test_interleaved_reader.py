"""The reader with several ports against memories of fixed latency, and the simulator's cycles."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.memory.interleaved_reader import InterleavedReader
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units import interleaved_reader
from tests.support.bench import simulate
from tests.support.cases import HW, TOGETHER
from tests.support.ports import DECERR, SLVERR, ReadPort, content, never

PORTS = {"two": replace(HW, memory_ports=2, burst_beats=8, outstanding=3),
         "four": replace(TOGETHER, memory_ports=4, burst_beats=16, outstanding=2),
         "single": replace(TOGETHER, memory_ports=4, burst_beats=4, outstanding=5),
         "one": replace(HW, memory_ports=2, burst_beats=2, outstanding=1)}
"""Of blocks with 4 words, 4, 1 and 1."""
LATENCY = 9


@dataclass
class Seen:
    """Cycles in which commands and each command's last word were taken; words; errors."""

    taken: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)


def draw(rng: np.random.Generator, hw: HwConfig, count: int = 5) -> list[tuple[int, int]]:
    """Draw transfers, in words, of any number of blocks."""
    return [(hw.bus_bytes * int(rng.integers(0, 1500)), int(rng.integers(1, 9 * hw.block_words)))
            for _ in range(count)]


def read(hw: HwConfig, transfers: list[tuple[int, int]], *, interval: int = 1,
         pauses: Callable[[], bool] = never, faults: dict[int, tuple[int, int]] | None = None,
         takes: Callable[[bool], bool] = bool) -> Seen:
    """Read all transfers; ``takes`` says whether a word is taken, given that there is one."""
    dut, seen = InterleavedReader(hw), Seen()
    ports = [ReadPort(axi, latency=LATENCY, interval=interval, pauses=pauses, faults=faults)
             for axi in dut.axi]

    async def bench(ctx):
        left, cycle = list(transfers), 0
        while len(seen.ends) < len(transfers):
            ctx.set(dut.i.valid, bool(left))
            if left:
                ctx.set(dut.i.p.address, left[0][0])
                ctx.set(dut.i.p.beats, left[0][1])
            for port in ports:
                port.drive(ctx, cycle)
            ctx.set(dut.o.ready, takes(bool(ctx.get(dut.o.valid))))
            if ctx.get(dut.error):
                seen.wrong.append(len(seen.words) - 1)
            if left and ctx.get(dut.i.ready):
                seen.taken.append(cycle)
                left.pop(0)
            moves = any(ctx.get(axi.rvalid) for axi in dut.axi) or (
                ctx.get(dut.o.valid) and ctx.get(dut.o.ready))
            assert ctx.get(dut.bus.progress) == bool(moves)
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                seen.words.append(ctx.get(dut.o.p.data))
                if ctx.get(dut.o.p.last):
                    seen.ends.append(cycle)
            for port in ports:
                port.see(ctx, cycle)
                assert not port.held, "a beat had to wait"
            await ctx.tick()
            cycle += 1
            assert cycle < 20000, "stuck"
        if ctx.get(dut.error):
            seen.wrong.append(len(seen.words) - 1)
        assert ctx.get(dut.bus.idle)

    simulate(dut, bench)
    for number, port in enumerate(ports):
        for address, beats in port.address.bursts:
            last = address + beats * hw.port_bytes - 1
            assert address // hw.block_bytes == last // hw.block_bytes
            assert address // hw.block_bytes % hw.memory_ports == number
    assert all(port.address.bursts for port in ports)
    return seen


def words_of(hw: HwConfig, transfers: list[tuple[int, int]]) -> list[int]:
    return [content(address + n * hw.bus_bytes, hw.bus_bytes)
            for address, words in transfers for n in range(words)]


@pytest.mark.parametrize("hold", [1, 3])
@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("name", PORTS)
def test_reader_takes_the_simulated_cycles(name: str, interval: int, hold: int, seed: int) -> None:
    """Commands are taken and words arrive when it says, each held ``hold`` cycles."""
    hw = PORTS[name]
    transfers, held = draw(np.random.default_rng(seed), hw), [0]
    reader = interleaved_reader.InterleavedReader(hw, MemoryModel(LATENCY, interval))
    expected = [reader.read(0, *transfer, 0, hold) for transfer in transfers]

    def takes(valid: bool) -> bool:
        held[0] = held[0] + 1 if valid else 0
        taken = held[0] == hold
        if taken:
            held[0] = 0
        return taken

    seen = read(hw, transfers, interval=interval, takes=takes)
    assert list(zip(seen.taken, seen.ends, strict=True)) == expected
    assert seen.words == words_of(hw, transfers)
    assert not seen.wrong


@pytest.mark.parametrize("name", PORTS)
def test_a_word_comes_in_every_cycle(name: str) -> None:
    """Of a long transfer at full rate, once the ports are out of step."""
    hw = replace(PORTS[name], outstanding=16)
    reader = interleaved_reader.InterleavedReader(hw, MemoryModel(LATENCY))
    short, long = (read(hw, [(0, words)]).ends[0] for words in (64, 192))
    assert long - short == 128
    assert reader.read(0, 0, 192, 0)[1] == long


@pytest.mark.parametrize("valid_first", [False, True])
@pytest.mark.parametrize("name", PORTS)
def test_words_come_in_order_whatever_pauses(name: str, valid_first: bool, seed: int) -> None:
    hw, rng = PORTS[name], np.random.default_rng(seed)
    transfers = draw(rng, hw)
    seen = read(hw, transfers, pauses=lambda: rng.random() < 0.4,
                takes=lambda valid: (valid or not valid_first) and rng.random() < 0.6)
    assert seen.words == words_of(hw, transfers)
    assert not seen.wrong


@pytest.mark.parametrize("fault", [(SLVERR, 0), (DECERR, 0), (0, 1)], ids=str)
@pytest.mark.parametrize("name", PORTS)
def test_errors_are_of_their_word(name: str, fault: tuple[int, int], seed: int) -> None:
    """On every port, in a first, an inner and a last beat; the transfer goes on."""
    hw, rng = PORTS[name], np.random.default_rng(seed)
    places = (0, hw.port_bytes * int(rng.integers(hw.burst_beats)), hw.block_bytes - hw.port_bytes)
    beats = [(2 * hw.memory_ports * turn + port) * hw.block_bytes + place
             for turn, place in enumerate(places) for port in range(hw.memory_ports)]
    words = 2 * len(places) * hw.memory_ports * hw.block_words
    seen = read(hw, [(0, words)], faults=dict.fromkeys(beats, fault),
                takes=lambda valid: rng.random() < 0.8)
    assert seen.wrong == sorted(beat // hw.bus_bytes for beat in beats)
    assert len(seen.words) == words


@pytest.mark.parametrize("name", PORTS)
def test_a_drain_ends_what_has_begun(name: str, seed: int) -> None:
    """Nothing new is offered, all that is owed is taken and thrown away, and then it is idle."""
    hw, rng = PORTS[name], np.random.default_rng(seed)
    for _ in range(5):
        dut, begins = InterleavedReader(hw), int(rng.integers(1, 40))
        ports = [ReadPort(axi, latency=LATENCY, pauses=lambda: rng.random() < 0.4)
                 for axi in dut.axi]

        async def bench(ctx, dut=dut, begins=begins, ports=ports):
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.p.beats, 10 * hw.memory_ports * hw.block_words)
            offered = None
            for cycle in range(begins + 200):
                ctx.set(dut.bus.drain, cycle >= begins)
                ctx.set(dut.o.ready, rng.random() < 0.5)
                for port in ports:
                    port.drive(ctx, cycle)
                if cycle == begins:
                    offered = [port.address.waits for port in ports]
                if offered:
                    assert not ctx.get(dut.o.valid)
                    for number, port in enumerate(ports):
                        assert not ctx.get(port.axi.arvalid) or offered[number]
                        if ctx.get(port.axi.arready):
                            offered[number] = None
                owes = any(port.owed or port.address.waits for port in ports)
                assert not ctx.get(dut.bus.idle) or not owes
                for port in ports:
                    port.see(ctx, cycle)
                if offered and not owes:
                    assert not ctx.get(dut.error)
                await ctx.tick()
            assert ctx.get(dut.bus.idle)
            assert not any(port.owed for port in ports)

        simulate(dut, bench)
