"""The DMA reader against a memory of fixed latency, and the simulator's cycles."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from deltamoe.rtl.memory.dma_reader import DmaReader
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units import dma_reader
from tests.support.bench import simulate
from tests.support.cases import HW

LATENCY = 9


@pytest.mark.parametrize("outstanding", [1, 2, 4])
@pytest.mark.parametrize("interval", [1, 3])
def test_reader_takes_the_simulated_cycles(outstanding: int, interval: int, seed: int) -> None:
    """Commands are taken and beats arrive when it says, each held ``interval`` cycles."""
    hw = replace(HW, outstanding=outstanding)
    rng = np.random.default_rng(seed)
    dut, queue = DmaReader(hw), deque()
    reader = dma_reader.DmaReader(hw, MemoryModel(LATENCY))

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


@pytest.mark.parametrize("answers", [
    ((2, 0), (0, 1)), ((0, 0), (3, 1)), ((0, 1), (0, 1)), ((0, 0), (0, 0))])
def test_reader_reports_an_error_and_goes_on(answers) -> None:
    """SLVERR, DECERR, a burst's end too early, none at its end; the transfer ends by its beats."""
    dut = DmaReader(HW)

    async def bench(ctx):
        ctx.set(dut.i.p.beats, 2)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.axi.arready, 1)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick()
        for number, (response, last) in enumerate(answers):
            ctx.set(dut.axi.rvalid, 1)
            ctx.set(dut.axi.rresp, response)
            ctx.set(dut.axi.rlast, last)
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.p.last)) == (1, number)
            await ctx.tick()
            assert ctx.get(dut.error) == (response != 0 or last != number)
        assert ctx.get(dut.bus.idle)
        assert not ctx.get(dut.axi.rready), "a beat that nobody asked for is taken"

    simulate(dut, bench)
