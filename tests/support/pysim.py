"""Run a case in Amaranth's simulator."""

import random

from amaranth import Module, Signal, Value
from amaranth.sim import Simulator

from tests.support.case import PATTERNS, Case, control


def run(case: Case, pattern: str, seed: int) -> int:
    """Run ``case``, assert its outputs, and return its cycles from first in to last out."""
    dut, rng = case.make(), random.Random(seed)
    gaps, valid_first = PATTERNS[pattern]
    first, last, cycle, top = [], [], Signal(32), Module()
    top.submodules.dut = dut
    top.d.sync += cycle.eq(cycle + 1)
    left = [len(case.outputs)]
    got: dict[str, list[int]] = {port: [] for port in case.outputs}

    def wires(port: str):
        stream = getattr(dut, port)
        return Value.cast(stream.payload).as_unsigned(), stream.valid, stream.ready

    def source(port: str):
        async def process(ctx):
            payload, valid, ready = wires(port)
            await ctx.tick().repeat(4 + len(case.setup))
            for word in case.inputs[port]:
                await wait(ctx, rng.choice(gaps))
                ctx.set(payload, word)
                ctx.set(valid, 1)
                *_, taken, now = await ctx.tick().sample(ready, cycle)
                while not taken:
                    *_, taken, now = await ctx.tick().sample(ready, cycle)
                first.append(now)
                ctx.set(valid, 0)
        return process

    def witness(port: str):
        async def process(ctx):
            payload, valid, _ = wires(port)
            while len(got[port]) < len(case.outputs[port]):
                *_, seen, word, now = await ctx.tick().sample(valid, payload, cycle)
                if seen:
                    got[port].append(word)
                    last.append(now)
            left[0] -= 1
        return process

    def sink(port: str):
        if getattr(dut, port).signature.always_ready:
            return witness(port)

        async def process(ctx):
            payload, valid, ready = wires(port)
            while len(got[port]) < len(case.outputs[port]):
                await wait(ctx, rng.choice(gaps))
                if valid_first:
                    *_, seen = await ctx.tick().sample(valid)
                    while not seen:
                        *_, seen = await ctx.tick().sample(valid)
                ctx.set(ready, 1)
                *_, seen, word, now = await ctx.tick().sample(valid, payload, cycle)
                while not seen:
                    *_, seen, word, now = await ctx.tick().sample(valid, payload, cycle)
                got[port].append(word)
                last.append(now)
                ctx.set(ready, 0) if gaps != (0,) else None
            left[0] -= 1
        return process

    async def main(ctx):
        for name, value in case.controls.items():
            ctx.set(control(dut, name), value)
        await ctx.tick()
        for step in case.setup:
            for name, value in step.items():
                ctx.set(control(dut, name), value)
            await ctx.tick()
        for name in {name for step in case.setup for name in step}:
            ctx.set(control(dut, name), 0)
        limit = 20000 + 40 * sum(map(len, (*case.inputs.values(), *case.outputs.values())))
        while left[0]:
            *_, now = await ctx.tick().sample(cycle)
            assert now < limit, f"{case.name}: stuck, received {got}"

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    for port in case.inputs:
        simulator.add_process(source(port))
    for port in case.outputs:
        simulator.add_process(sink(port))
    simulator.add_testbench(main)
    simulator.run()
    for port, words in case.outputs.items():
        assert [hex(word) for word in got[port]] == [hex(word) for word in words], port
    return max(last) - min(first) + 1


async def wait(ctx, cycles: int) -> None:
    """Let ``cycles`` pass."""
    if cycles:
        await ctx.tick().repeat(cycles)
