"""DMA masters and registers against a memory of fixed latency, and the simulator's cycles."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from rtl.config import PRESETS
from rtl.counters import COUNTERS
from rtl.memory.dma_reader import DmaReader
from rtl.memory.dma_writer import DmaWriter
from rtl.memory.registers import COUNTERS_OFFSET, ID, REGISTERS, Registers
from rtl.program import ErrorCode
from sim.memory import MemoryModel, Reader, bursts
from tests.support.bench import simulate

HW = PRESETS["nano"]
LATENCY = 9


@pytest.mark.parametrize("outstanding", [1, 2, 4])
@pytest.mark.parametrize("interval", [1, 3])
def test_reader_takes_the_simulated_cycles(outstanding: int, interval: int, seed: int) -> None:
    """Commands are taken and beats arrive when ``Reader`` says, each held ``interval`` cycles."""
    hw = replace(HW, outstanding=outstanding)
    rng = np.random.default_rng(seed)
    dut, queue = DmaReader(hw), deque()
    reader = Reader(hw, MemoryModel(LATENCY))

    transfers = [(8 * int(rng.integers(0, 1500)), int(rng.integers(1, 120))) for _ in range(5)]
    expected = [reader.read(0, *transfer, 0, interval) for transfer in transfers]

    async def bench(ctx):
        left, got, ends, taken = list(transfers), [], [], []
        held = flying = 0
        ctx.set(dut.axi.arready, 1)
        for cycle in range(expected[-1][1] + 20):
            ctx.set(dut.i.valid, bool(left))
            if left:
                ctx.set(dut.i.p.address, left[0][0])
                ctx.set(dut.i.p.beats, left[0][1])
            due = bool(queue) and queue[0][1] <= cycle
            ctx.set(dut.axi.rvalid, due)
            ctx.set(dut.axi.rdata, queue[0][0] if due else 0)
            ctx.set(dut.axi.rlast, queue[0][2] if due else 0)
            held = held + 1 if due else 0
            ctx.set(dut.o.ready, held == interval)
            if left and ctx.get(dut.i.ready):
                taken.append(cycle)
                left.pop(0)
            if ctx.get(dut.axi.arvalid):
                start, length = ctx.get(dut.axi.araddr), ctx.get(dut.axi.arlen) + 1
                assert ctx.get(dut.axi.arsize) == 3
                flying += 1
                assert flying <= outstanding
                queue.extend((start + 8 * n, cycle + LATENCY, n == length - 1)
                             for n in range(length))
            if due and held == interval:
                got.append(queue[0][0])
                assert ctx.get(dut.o.p.data) == queue[0][0]
                if ctx.get(dut.o.p.last):
                    ends.append(cycle)
                flying -= queue[0][2]
                queue.popleft()
                held = 0
            await ctx.tick()
        assert got == [address + 8 * n for address, beats in transfers for n in range(beats)]
        assert list(zip(taken, ends, strict=True)) == expected

    simulate(dut, bench)


def test_reader_reports_an_error_and_goes_on() -> None:
    dut = DmaReader(HW)

    async def bench(ctx):
        ctx.set(dut.i.p.beats, 2)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.axi.arready, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.i.valid, 0)
        for response, last in ((2, 0), (0, 1)):
            ctx.set(dut.axi.rvalid, 1)
            ctx.set(dut.axi.rresp, response)
            ctx.set(dut.axi.rlast, last)
            assert ctx.get(dut.error) == (response != 0)
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.p.last)) == (1, last)
            await ctx.tick()

    simulate(dut, bench)


def test_writer_takes_the_simulated_cycles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = DmaWriter(HW)

    async def bench(ctx):
        for _ in range(4):
            address, beats = 8 * int(rng.integers(0, 1500)), int(rng.integers(1, 60))
            ctx.set(dut.i.p.address, address)
            ctx.set(dut.i.p.beats, beats)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.axi.awready, 1)
            ctx.set(dut.axi.wready, 1)
            ctx.set(dut.data.valid, 1)
            memory, sent, burst, answers, cycle, done = {}, 0, None, set(), 0, None
            while done is None:
                ctx.set(dut.data.payload, 1000 + sent)
                ctx.set(dut.axi.bvalid, cycle in answers)
                if ctx.get(dut.done):
                    done = cycle
                if ctx.get(dut.axi.wvalid):
                    assert ctx.get(dut.axi.wstrb) == (1 << HW.bus_bytes) - 1
                    memory[burst[0]] = ctx.get(dut.axi.wdata)
                    burst = (burst[0] + 8, burst[1] - 1)
                    assert ctx.get(dut.axi.wlast) == (burst[1] == 0)
                    sent += 1
                    answers |= {cycle + LATENCY} if burst[1] == 0 else set()
                if ctx.get(dut.axi.awvalid):
                    burst = (ctx.get(dut.axi.awaddr), ctx.get(dut.axi.awlen) + 1)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
                cycle += 1
            assert memory == {address + 8 * n: 1000 + n for n in range(beats)}
            assert done == LATENCY + sum(1 + length for length in bursts(address, beats, HW))

    simulate(dut, bench)


def test_registers() -> None:
    dut = Registers()
    axi = dut.axi

    async def bench(ctx):
        async def store(offset: int, value: int, strobe: int = 15) -> int:
            for port, item in ((axi.awaddr, offset), (axi.wdata, value), (axi.wstrb, strobe)):
                ctx.set(port, item)
            ctx.set(axi.awvalid, 1)
            await ctx.tick()
            assert not ctx.get(axi.bvalid), "an address alone was answered"
            ctx.set(axi.wvalid, 1)
            await ctx.tick()
            ctx.set(axi.awvalid, 0)
            ctx.set(axi.wvalid, 0)
            assert ctx.get(axi.bvalid)
            await ctx.tick()
            assert ctx.get(axi.bvalid), "the answer was withdrawn"
            ctx.set(axi.bready, 1)
            response = ctx.get(axi.bresp)
            await ctx.tick()
            ctx.set(axi.bready, 0)
            return response

        async def load(offset: int) -> tuple[int, int]:
            ctx.set(axi.araddr, offset)
            ctx.set(axi.arvalid, 1)
            await ctx.tick()
            ctx.set(axi.arvalid, 0)
            answer = ctx.get(axi.rdata), ctx.get(axi.rresp)
            ctx.set(axi.rready, 1)
            await ctx.tick()
            ctx.set(axi.rready, 0)
            return answer

        assert await load(REGISTERS["id"].offset) == (ID, 0)
        for number, (name, register) in enumerate(REGISTERS.items()):
            if register.access == "rw":
                assert await store(register.offset, 0xA5A50000 + number) == 0
                assert await load(register.offset) == (0xA5A50000 + number, 0)
                assert ctx.get(getattr(dut, name)) == 0xA5A50000 + number
        offset = REGISTERS["memory_size"].offset
        await store(offset, 0x11223344)
        await store(offset, 0xFFFFFFFF, strobe=0b0101)
        assert await load(offset) == (0x11FF33FF, 0)
        assert await store(REGISTERS["id"].offset, 1) == 2
        assert await load(0xFFC) == (0, 2)
        for number in range(len(COUNTERS)):
            ctx.set(dut.counters[number], (number << 40) + 7 * number)
        for number in range(len(COUNTERS)):
            assert await load(COUNTERS_OFFSET + 8 * number) == (7 * number, 0)
            assert await load(COUNTERS_OFFSET + 8 * number + 4) == (number << 8, 0)

        await store(REGISTERS["interrupt_enable"].offset, 1)
        ctx.set(dut.failed, 1)
        ctx.set(dut.error, ErrorCode.BUS)
        ctx.set(dut.index, 77)
        await ctx.tick()
        ctx.set(dut.failed, 0)
        assert ctx.get(dut.interrupt)
        assert await load(REGISTERS["status"].offset) == (0b1100, 0)
        assert await load(REGISTERS["error_code"].offset) == (ErrorCode.BUS, 0)
        assert await load(REGISTERS["error_index"].offset) == (77, 0)
        await store(REGISTERS["control"].offset, 4)
        assert not ctx.get(dut.interrupt)
        assert await load(REGISTERS["status"].offset) == (0b0100, 0)
        await store(REGISTERS["control"].offset, 1)
        assert await load(REGISTERS["status"].offset) == (0, 0)

    simulate(dut, bench)
