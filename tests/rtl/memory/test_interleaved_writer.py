"""The writer with several ports against memories of fixed latency, and the simulator's cycles."""

from collections.abc import Callable

import numpy as np
import pytest

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.memory.interleaved_writer import InterleavedWriter
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units import interleaved_writer
from tests.rtl.memory.test_interleaved_reader import LATENCY, PORTS, draw
from tests.support.bench import simulate
from tests.support.ports import DECERR, SLVERR, WritePort, content, never


def write(hw: HwConfig, transfers: list[tuple[int, int]], *, interval: int = 1,
          pauses: Callable[[], bool] = never, faults: dict[int, int] | None = None,
          comes: Callable[[], bool] = lambda: True) -> tuple[list[int], list[int]]:
    """Write transfers, each when the one before is done.

    Returns
    -------
    done, wrong : list of int
        Cycles from each command until it was done, the numbers of those with an error.
    """
    dut, done, wrong = InterleavedWriter(hw), [], []
    ports = [WritePort(axi, latency=LATENCY, interval=interval, pauses=pauses, faults=faults)
             for axi in dut.axi]

    async def bench(ctx):
        cycle = 0
        for number, (address, words) in enumerate(transfers):
            began, sent, offered = cycle, 0, False
            ctx.set(dut.i.p.address, address)
            ctx.set(dut.i.p.beats, words)
            while True:
                ctx.set(dut.i.valid, cycle == began)
                offered = sent < words and (offered or comes())
                ctx.set(dut.data.valid, offered)
                ctx.set(dut.data.payload, content(address + sent * hw.bus_bytes, hw.bus_bytes))
                for port in ports:
                    port.drive(ctx, cycle)
                assert cycle > began or ctx.get(dut.i.ready)
                if ctx.get(dut.error):
                    wrong.append(number)
                finished = ctx.get(dut.done)
                moves = offered and ctx.get(dut.data.ready)
                moves = moves or any(ctx.get(axi.bvalid) or (
                    ctx.get(axi.wvalid) and ctx.get(axi.wready)) for axi in dut.axi)
                assert ctx.get(dut.bus.progress) == bool(moves)
                if offered and ctx.get(dut.data.ready):
                    sent, offered = sent + 1, False
                for port in ports:
                    port.see(ctx, cycle)
                await ctx.tick()
                cycle += 1
                if finished:
                    break
                assert cycle < began + 20000, "stuck"
            done.append(cycle - 1 - began)
            assert sent == words
            assert ctx.get(dut.bus.idle)
            assert not any(port.owes for port in ports)

    simulate(dut, bench)
    memory: dict[int, int] = {}
    for number, port in enumerate(ports):
        assert all(place // hw.block_bytes % hw.memory_ports == number for place in port.memory)
        for address, beats in port.address.bursts:
            assert address % hw.block_bytes + beats * hw.port_bytes <= hw.block_bytes
        memory |= port.memory
    places = {place for address, words in transfers
              for place in range(address, address + words * hw.bus_bytes)}
    assert memory == {place: content(place, 1) for place in places}
    return done, wrong


@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("name", PORTS)
def test_writer_takes_the_simulated_cycles(name: str, interval: int, seed: int) -> None:
    hw, memory, expected = PORTS[name], MemoryModel(LATENCY, interval), []
    transfers = draw(np.random.default_rng(seed), hw)
    for transfer in transfers:
        writer = interleaved_writer.InterleavedWriter(0, *transfer, hw, memory)
        for slot in writer.words():
            writer.send(slot)
        expected.append(writer.done)
    assert write(hw, transfers, interval=interval) == (expected, [])


@pytest.mark.parametrize("name", PORTS)
def test_bytes_are_written_whatever_pauses(name: str, seed: int) -> None:
    """The memory has no byte but those, all with what was given."""
    hw, rng = PORTS[name], np.random.default_rng(seed)
    done, wrong = write(hw, draw(rng, hw), pauses=lambda: rng.random() < 0.4,
                        comes=lambda: rng.random() < 0.5)
    assert len(done) == 5
    assert not wrong


@pytest.mark.parametrize("response", [SLVERR, DECERR])
@pytest.mark.parametrize("name", PORTS)
def test_errors_of_any_port_are_seen_before_the_end(name: str, response: int) -> None:
    hw = PORTS[name]
    words, faults, transfers = 3 * hw.memory_ports * hw.block_words, {}, []
    for number in range(3 * hw.memory_ports):  # the first, an inner, the last burst of each port
        base = number << 16
        faults[base + number * hw.block_bytes] = response
        transfers += [(base, words), (base + (1 << 15), words)]
    assert write(hw, transfers, faults=faults)[1] == list(range(0, len(transfers), 2))


@pytest.mark.parametrize("name", PORTS)
def test_a_drain_ends_what_has_begun(name: str, seed: int) -> None:
    """No burst begins, those that have get their beats and answers, and then it is idle."""
    hw, rng = PORTS[name], np.random.default_rng(seed)
    for _ in range(5):
        dut, begins = InterleavedWriter(hw), int(rng.integers(1, 40))
        ports = [WritePort(axi, latency=LATENCY, pauses=lambda: rng.random() < 0.4)
                 for axi in dut.axi]

        async def bench(ctx, dut=dut, begins=begins, ports=ports):
            ctx.set(dut.i.p.beats, 10 * hw.memory_ports * hw.block_words)
            ctx.set(dut.data.valid, 1)
            ctx.set(dut.data.payload, 5)
            offered, beats = None, []
            for cycle in range(begins + 200):
                ctx.set(dut.i.valid, cycle == 0)
                ctx.set(dut.bus.drain, cycle >= begins)
                if cycle == begins:
                    offered = [port.address.waits for port in ports]
                    beats = [ctx.get(port.axi.wvalid) and not ctx.get(port.axi.wready)
                             for port in ports]
                for port in ports:
                    port.drive(ctx, cycle)
                if offered:
                    for number, port in enumerate(ports):
                        assert not ctx.get(port.axi.awvalid) or offered[number]
                        if ctx.get(port.axi.awready):
                            offered[number] = None
                        if cycle > begins + 1 and ctx.get(port.axi.wvalid) and not beats[number]:
                            assert not ctx.get(port.axi.wstrb), "written in the drain"
                        beats[number] = (ctx.get(port.axi.wvalid) and ctx.get(port.axi.wstrb)
                                         and not ctx.get(port.axi.wready))
                owes = any(port.owes or port.address.waits for port in ports)
                assert not ctx.get(dut.bus.idle) or not owes
                for port in ports:
                    port.see(ctx, cycle)
                await ctx.tick()
            assert ctx.get(dut.bus.idle)
            assert not any(port.owes for port in ports)

        simulate(dut, bench)
