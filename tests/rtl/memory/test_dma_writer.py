"""The DMA writer against a memory of fixed latency, and the simulator's cycles."""

import numpy as np

from deltamoe.rtl.memory.dma_writer import DmaWriter
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units import dma_writer
from tests.support.bench import simulate
from tests.support.cases import HW

LATENCY = 9


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
            writer = dma_writer.DmaWriter(0, address, beats, HW, MemoryModel(LATENCY))
            for slot in writer.words():
                writer.send(slot)
            assert done == writer.done

    simulate(dut, bench)
