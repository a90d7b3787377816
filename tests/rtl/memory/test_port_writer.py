"""One port of the writer: when a burst begins, and the beats that it makes of words."""

import numpy as np

from deltamoe.rtl.memory.port_writer import PortWriter
from tests.rtl.memory.test_interleaved_reader import LATENCY, PORTS
from tests.support.bench import simulate
from tests.support.ports import WritePort, content

HW = PORTS["four"]


def test_a_burst_begins_when_it_is_whole_and_waits_for_nothing(seed: int) -> None:
    """Words come with gaps; the address follows the last by a cycle, and beats have no gaps."""
    rng, dut = np.random.default_rng(seed), PortWriter(HW)
    port = WritePort(dut.axi, latency=LATENCY)

    async def bench(ctx):
        cycle = 0
        for number in range(20):
            address, words = number * HW.block_bytes, int(rng.integers(1, HW.block_words + 1))
            sent, began, beats = 0, None, []
            ctx.set(dut.i.p.burst.address, address)
            ctx.set(dut.i.p.burst.beats, words)
            while sent < words or not ctx.get(dut.empty):
                comes = sent < words and rng.random() < 0.4
                ctx.set(dut.i.valid, comes)
                ctx.set(dut.i.p.data, content(address + sent * HW.bus_bytes, HW.bus_bytes))
                ctx.set(dut.i.p.ends, sent == words - 1)
                port.drive(ctx, cycle)
                if comes:
                    assert ctx.get(dut.i.ready)
                    sent += 1
                    began = cycle + 1 if sent == words else None
                assert ctx.get(dut.axi.awvalid) == (cycle == began)
                if ctx.get(dut.axi.wvalid):
                    beats.append(cycle)
                assert not ctx.get(dut.empty) or not port.owes
                port.see(ctx, cycle)
                await ctx.tick()
                cycle += 1
                assert cycle < 5000, "stuck"
            assert beats == list(range(began + 1, began + 1 + words * HW.memory_ports))
            places = range(address, address + words * HW.bus_bytes)
            assert [port.memory[place] for place in places] == [
                content(place, 1) for place in places]

    simulate(dut, bench)


def test_words_wait_while_there_is_room() -> None:
    """Two bursts, while memory takes nothing, as the simulator has it; then they are written."""
    dut, room = PortWriter(HW), 2 * HW.block_words
    stopped = [True]
    port = WritePort(dut.axi, latency=LATENCY, pauses=lambda: stopped[0])

    async def bench(ctx):
        given = 0
        for cycle in range(400):
            stopped[0] = cycle < 3 * room
            ctx.set(dut.i.valid, given < room)
            ctx.set(dut.i.p.data, content(given * HW.bus_bytes, HW.bus_bytes))
            ctx.set(dut.i.p.burst.address, given * HW.bus_bytes)
            ctx.set(dut.i.p.burst.beats, 1)
            ctx.set(dut.i.p.ends, 1)
            port.drive(ctx, cycle)
            assert ctx.get(dut.i.ready) == (given < room or len(port.memory) >= HW.bus_bytes)
            given += given < room
            port.see(ctx, cycle)
            await ctx.tick()
        assert port.memory == {place: content(place, 1) for place in range(room * HW.bus_bytes)}

    simulate(dut, bench)
