"""cocotb: every case of the stream units at once, under one pattern of traffic."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Combine, NextTimeStep, ReadOnly, RisingEdge, with_timeout

from tests.support.case import PATTERNS
from tests.support.cases import MAKERS, make


class Always:
    """What stands for ``ready`` of a stream that has no such signal."""

    value = 1


class Stream:
    """The three signals of a stream port."""

    def __init__(self, dut, name: str) -> None:
        self.clk = dut.clk
        self.payload, self.valid = (getattr(dut, f"{name}__{part}")
                                    for part in ("payload", "valid"))
        self.ready = getattr(dut, f"{name}__ready", Always())

    async def idle(self, cycles: int) -> None:
        for _ in range(cycles):
            await RisingEdge(self.clk)

    async def send(self, words: list[int], gap) -> None:
        for word in words:
            await self.idle(gap())
            self.payload.value, self.valid.value = word, 1
            await ReadOnly()
            while not self.ready.value:
                await RisingEdge(self.clk)
                await ReadOnly()
            await RisingEdge(self.clk)
            self.valid.value = 0

    async def receive(self, count: int, gap, valid_first: bool) -> list[int]:
        words = []
        while isinstance(self.ready, Always) and len(words) < count:
            await ReadOnly()
            if self.valid.value:
                words.append(int(self.payload.value))
            await RisingEdge(self.clk)
        while len(words) < count:
            await self.idle(gap())
            while valid_first and not self.valid.value:
                await RisingEdge(self.clk)
            self.ready.value = 1
            await ReadOnly()
            while not self.valid.value:
                await RisingEdge(self.clk)
                await ReadOnly()
            words.append(int(self.payload.value))
            await RisingEdge(self.clk)
            self.ready.value = 0
        return words

    async def watch(self) -> None:
        """A word that is offered and not taken must stay."""
        while True:
            await ReadOnly()
            offered = int(self.payload.value) if self.valid.value else None
            taken = self.ready.value
            await RisingEdge(self.clk)
            await ReadOnly()
            if offered is not None and not taken:
                assert self.valid.value, "valid fell without ready"
                assert int(self.payload.value) == offered, "payload changed without ready"
            await NextTimeStep()


async def drive(dut, name: str, pattern: str, seed: int) -> None:
    """Run one case."""
    case, rng = make(name, seed), random.Random(seed)
    gaps, valid_first = PATTERNS[pattern]

    def gap() -> int:
        return rng.choice(gaps)

    for control, value in case.controls.items():
        getattr(dut, f"{name}_{control}").value = value
    for step in case.setup:
        for control, value in step.items():
            getattr(dut, f"{name}_{control}").value = value
        await RisingEdge(dut.clk)
    for control in {control for step in case.setup for control in step}:
        getattr(dut, f"{name}_{control}").value = 0
    for port, words in case.inputs.items():
        cocotb.start_soon(Stream(dut, f"{name}_{port}").send(words, gap))
    tasks = {port: cocotb.start_soon(
        Stream(dut, f"{name}_{port}").receive(len(words), gap, valid_first))
        for port, words in case.outputs.items()}
    await Combine(*tasks.values())
    for port, task in tasks.items():
        assert list(map(hex, task.result())) == list(map(hex, case.outputs[port])), (name, port)


@cocotb.test()
@cocotb.parametrize(pattern=list(PATTERNS))
async def matches_golden(dut, pattern: str) -> None:
    for name in MAKERS:
        case = make(name, 0)
        for port in case.inputs:
            getattr(dut, f"{name}_{port}__valid").value = 0
        for port in case.outputs:
            Stream(dut, f"{name}_{port}").ready.value = 0
    dut.rst.value = 1
    Clock(dut.clk, 10, "ns").start()
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    seed = int(os.environ["DELTAMOE_SEED"])
    await with_timeout(Combine(*(cocotb.start_soon(drive(dut, name, pattern, seed))
                                 for name in MAKERS)), 2, "ms")
