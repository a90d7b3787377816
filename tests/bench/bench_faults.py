"""cocotb: faults on cocotbext-axi's memory, and after each the right bits and counters.

A smaller view of ``faults.cpp`` from outside: other people's memory, bus and processor.
"""

import os
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import COUNTERS_OFFSET, REGISTERS, WATCHDOG
from deltamoe.rtl.program import ErrorCode
from tests.bench.bench_accelerator import pauses, stable
from tests.bench.scripts import BUSY, DONE, DRAINING, ENDED, ERROR, RESET, START

IMPATIENCE = 1000
KINDS = ("read error", "write error", "silence", "reset", "busy", "bad settings")


class Board:
    """The accelerator on a memory that can fail."""

    def __init__(self, dut, given, rng: random.Random) -> None:
        self.dut, self.given, self.rng = dut, given, rng
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, dut.aresetn,
                                  False)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.aclk, dut.aresetn, False,
                          size=1 << 20)
        read, write = self.ram.read_if, self.ram.write_if
        self.channels = [read.ar_channel, read.r_channel, write.aw_channel, write.w_channel,
                         write.b_channel]
        self.failing = {"_read": None, "_write": None}
        self.fail(read, "_read")
        self.fail(write, "_write")

    def fail(self, side, name: str) -> None:
        """Raise, which is answered with SLVERR, at the access whose turn it is."""
        access = getattr(side, name)

        async def wrapped(*arguments):
            if self.failing[name] is not None:
                self.failing[name] -= 1
                if self.failing[name] < 0:
                    self.failing[name] = None
                    raise ValueError("this access fails")
            return await access(*arguments)

        setattr(side, name, wrapped)

    def calm(self) -> None:
        self.failing |= {"_read": None, "_write": None}
        for channel in self.channels:
            channel.clear_pause_generator()
            channel.pause = False

    async def write(self, name: str, value: int) -> None:
        await self.lite.write_dword(REGISTERS[name].offset, value)

    async def read(self, name: str) -> int:
        return await self.lite.read_dword(REGISTERS[name].offset)

    async def start(self, base: int, watchdog: int = WATCHDOG) -> None:
        self.ram.write(base, self.given["before"].tobytes())
        size = len(self.given["before"])
        for name, value in (("program_low", base), ("program_length", int(self.given["length"])),
                            ("memory_low", base), ("memory_size", size), ("watchdog", watchdog),
                            ("interrupt_enable", ENDED), ("control", START)):
            await self.write(name, value)
        await ClockCycles(self.dut.aclk, 8)

    async def end(self) -> tuple[int, ErrorCode]:
        if not self.dut.interrupt.value:
            await with_timeout(RisingEdge(self.dut.interrupt), 1, "ms")
        return await self.read("status"), ErrorCode(await self.read("error_code"))

    async def succeed(self, base: int) -> list[int]:
        """Run the program to its right end and return the counters."""
        assert await self.end() == (DONE, ErrorCode.NONE)
        after = self.given["after"].tobytes()
        assert self.ram.read(base, len(after)) == after
        return [await self.lite.read_qword(COUNTERS_OFFSET + 8 * n) for n in range(len(COUNTERS))]

    async def break_something(self, kind: str, base: int) -> None:
        """Let one kind of fault happen and check how it is reported."""
        reads, writes = (int(self.given[name]) for name in ("reads", "writes"))
        if kind not in {"busy", "silence"}:
            for number, channel in enumerate(self.channels):
                channel.set_pause_generator(pauses(self.rng.randrange(1 << 30) + number))
        if kind == "read error":
            self.failing["_read"] = self.rng.randrange(reads)
        if kind == "write error":
            self.failing["_write"] = self.rng.randrange(writes)
        await self.start(base + 4 * (kind == "bad settings"), IMPATIENCE)
        if kind in {"read error", "write error", "bad settings"}:
            code = ErrorCode.ADDRESS if kind == "bad settings" else ErrorCode.BUS
            assert await self.end() == (ERROR, code), kind
        elif kind == "busy":
            await self.write("memory_size", 0)
            await self.write("control", START)
            await self.write("interrupt_status", ENDED)
            assert await self.read("status") == BUSY
            await self.succeed(base)
        else:
            await ClockCycles(self.dut.aclk, self.rng.randrange(1, 300))
            if kind == "silence":
                self.rng.choice(self.channels[:2]).pause = True
                assert await self.end() == (ERROR | DRAINING, ErrorCode.WATCHDOG)
            await self.write("control", RESET)
        await ClockCycles(self.dut.aclk, self.rng.randrange(1, 50))


@cocotb.test()
async def is_right_after_faults(dut) -> None:
    rng = random.Random(int(os.environ["DELTAMOE_SEED"]))
    Clock(dut.aclk, 10, "ns").start()
    dut.aresetn.value = 0
    board = Board(dut, np.load(os.environ["DELTAMOE_CASE"]), rng)
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await RisingEdge(dut.aclk)
    for channel, names in (("ar", ["addr", "len"]), ("aw", ["addr", "len"]),
                           ("w", ["data", "strb", "last"])):
        cocotb.start_soon(stable(dut, channel, names))
    await board.start(0)
    fresh = await board.succeed(0)
    for number in range(int(os.environ["DELTAMOE_CASES"])):
        kind = KINDS[number % len(KINDS)]
        await board.break_something(kind, 4096 * rng.randrange(1, 60))
        base = 4096 * rng.randrange(1, 60)
        if rng.random() < 0.5:
            board.calm()
        await board.start(base)
        board.calm()
        await board.succeed(base)
        await board.start(base)
        assert await board.succeed(base) == fresh, (number, kind)
