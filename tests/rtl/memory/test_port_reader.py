"""One port of the reader: how many bursts it asks for, and the words that it makes of beats."""

import numpy as np

from deltamoe.rtl.memory.port_reader import PortReader
from tests.rtl.memory.test_interleaved_reader import LATENCY, PORTS
from tests.support.bench import simulate
from tests.support.ports import SLVERR, ReadPort, content

HW = PORTS["four"]
WORDS = HW.block_words


def test_a_burst_is_asked_for_when_there_is_room_for_it() -> None:
    """No more than ``outstanding`` have words here; the next, in the cycle after one has left."""
    dut = PortReader(HW)
    port = ReadPort(dut.axi, latency=LATENCY)

    async def bench(ctx):
        freed = None
        for cycle in range(300):
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.p.address, cycle * HW.block_bytes)
            ctx.set(dut.i.p.beats, WORDS)
            ctx.set(dut.o.ready, cycle > 100 and cycle % 3 == 0)
            port.drive(ctx, cycle)
            asks, asked = ctx.get(dut.axi.arvalid), len(port.address.bursts)
            if cycle < HW.outstanding or freed == cycle - 1:
                assert asks
            elif cycle <= 100:
                assert (asks, asked) == (0, HW.outstanding)
            elif freed is None:
                assert not asks
            if cycle == 100:
                assert not port.owed
                assert ctx.get(dut.o.valid)
            freed = (cycle if ctx.get(dut.o.valid) and ctx.get(dut.o.ready)
                     and ctx.get(dut.o.p.last) else None)
            port.see(ctx, cycle)
            assert not port.held, "a beat had to wait"
            await ctx.tick()
        assert len(port.address.bursts) > 3 * HW.outstanding

    simulate(dut, bench)


def test_words_of_beats(seed: int) -> None:
    """In the cycle after the last beat, with the errors of their own beats alone."""
    rng, dut = np.random.default_rng(seed), PortReader(HW)
    bursts = [(n * HW.block_bytes, int(rng.integers(1, WORDS + 1))) for n in range(20)]
    places = [address + n * HW.bus_bytes for address, words in bursts for n in range(words)]
    faults = {place + HW.port_bytes * int(rng.integers(HW.memory_ports)): (SLVERR, 0)
              for place in places if rng.random() < 0.3}
    port = ReadPort(dut.axi, latency=LATENCY, faults=faults, pauses=lambda: rng.random() < 0.3)

    async def bench(ctx):
        given, got, beats = list(bursts), [], 0
        for cycle in range(2000):
            ctx.set(dut.i.valid, bool(given))
            if given:
                ctx.set(dut.i.p.address, given[0][0])
                ctx.set(dut.i.p.beats, given[0][1])
            ctx.set(dut.o.ready, 1)
            port.drive(ctx, cycle)
            assert ctx.get(dut.o.valid) == (len(got) < beats // HW.memory_ports)
            if ctx.get(dut.o.valid):
                got.append(tuple(map(ctx.get, (dut.o.p.data, dut.o.p.last, dut.o.p.wrong))))
            beats += ctx.get(dut.axi.rvalid)
            if given and ctx.get(dut.i.ready):
                given.pop(0)
            port.see(ctx, cycle)
            await ctx.tick()
        ends = {address + (words - 1) * HW.bus_bytes for address, words in bursts}
        assert got == [(content(place, HW.bus_bytes), place in ends, any(
            place + n * HW.port_bytes in faults for n in range(HW.memory_ports)))
            for place in places]
        assert 0 < len(faults) < len(places)

    simulate(dut, bench)
