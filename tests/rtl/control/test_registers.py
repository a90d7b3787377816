"""Registers on their bus."""

import pytest

from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.registers import COUNTERS_OFFSET, ID, REGISTERS, Registers
from deltamoe.rtl.memory.axi import OKAY
from deltamoe.rtl.program import ErrorCode
from tests.support.bench import simulate

WRITABLE = {register.offset for register in REGISTERS.values() if register.access == "rw"}


class Lite:
    """An AXI4-Lite manager that drives one channel after the other."""

    def __init__(self, ctx, axi) -> None:
        self.ctx, self.axi = ctx, axi

    async def send(self, channel: str, **payload: int) -> None:
        """Offer a payload until it is taken."""
        ctx, axi = self.ctx, self.axi
        for name, value in payload.items():
            ctx.set(getattr(axi, channel + name), value)
        ctx.set(getattr(axi, f"{channel}valid"), 1)
        while not ctx.get(getattr(axi, f"{channel}ready")):
            await ctx.tick()
        await ctx.tick()
        ctx.set(getattr(axi, f"{channel}valid"), 0)

    async def answer(self, channel: str) -> None:
        """Wait for an answer, see that it stays, take it."""
        ctx, axi = self.ctx, self.axi
        while not ctx.get(getattr(axi, f"{channel}valid")):
            await ctx.tick()
        await ctx.tick()
        assert ctx.get(getattr(axi, f"{channel}valid")), "the answer was withdrawn"
        assert ctx.get(getattr(axi, f"{channel}resp")) == OKAY
        ctx.set(getattr(axi, f"{channel}ready"), 1)
        await ctx.tick()
        ctx.set(getattr(axi, f"{channel}ready"), 0)
        assert not ctx.get(getattr(axi, f"{channel}valid")), "a second answer"

    async def store(self, offset: int, value: int, strobe: int = 15, first: str = "aw") -> None:
        """Write a register, address or data first."""
        channels = {"aw": {"addr": offset}, "w": {"data": value, "strb": strobe}}
        await self.send(first, **channels.pop(first))
        for _ in range(3):
            assert not self.ctx.get(self.axi.bvalid), "half a write was answered"
            await self.ctx.tick()
        (second, payload), = channels.items()
        await self.send(second, **payload)
        await self.answer("b")

    async def load(self, offset: int) -> int:
        """Read a register."""
        await self.send("ar", addr=offset)
        value = self.ctx.get(self.axi.rdata)
        await self.answer("r")
        return value


@pytest.mark.parametrize("first", ["aw", "w"])
def test_registers_hold_what_is_written(first: str) -> None:
    dut = Registers()

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)
        assert await lite.load(REGISTERS["id"].offset) == ID
        for number, offset in enumerate(sorted(WRITABLE)):
            await lite.store(offset, 0xA5A50000 + number, first=first)
        for number, offset in enumerate(sorted(WRITABLE)):
            assert await lite.load(offset) == 0xA5A50000 + number
        settings = dut.commands.settings
        for name, value in (
                ("program_low", settings.program_address[:32]),
                ("program_high", settings.program_address[32:]),
                ("program_length", settings.length), ("memory_low", settings.memory_base[:32]),
                ("memory_high", settings.memory_base[32:]),
                ("memory_size", settings.memory_size), ("watchdog", settings.watchdog)):
            assert ctx.get(value) == await lite.load(REGISTERS[name].offset)
        offset = REGISTERS["memory_size"].offset
        await lite.store(offset, 0x11223344, first=first)
        await lite.store(offset, 0xFFFFFFFF, strobe=0b0101, first=first)
        assert await lite.load(offset) == 0x11FF33FF

    simulate(dut, bench)


def test_registers_answer_everywhere() -> None:
    """A dump of all 4 KB, and writes to all that is not writable, do no harm."""
    dut = Registers()
    readable = {register.offset for register in REGISTERS.values() if "r" in register.access}
    counters = {COUNTERS_OFFSET + 4 * word for word in range(2 * len(COUNTERS))}

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)
        for number in range(len(COUNTERS)):
            ctx.set(dut.counters[number], (number << 40) + 7 * number)
        before = {}
        for offset in range(0, 4096, 4):
            before[offset] = await lite.load(offset)
            assert offset in readable | counters or before[offset] == 0
        for number in range(len(COUNTERS)):
            assert before[COUNTERS_OFFSET + 8 * number] == 7 * number
            assert before[COUNTERS_OFFSET + 8 * number + 4] == number << 8
        for offset in range(0, 4096, 4):
            if offset not in WRITABLE | {REGISTERS["control"].offset}:
                await lite.store(offset, 0xFFFFFFFF)
                assert (ctx.get(dut.commands.start), ctx.get(dut.commands.reset)) == (0, 0)
                assert await lite.load(offset) == before[offset]
        for offset in WRITABLE:
            assert await lite.load(offset) == before[offset], "another register was written"

    simulate(dut, bench)


def test_registers_report_how_a_program_ended() -> None:
    dut = Registers()

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)

        async def pulse(*ports) -> None:
            for port in ports:
                ctx.set(port, 1)
            await ctx.tick()
            for port in ports:
                ctx.set(port, 0)

        async def status() -> int:
            return await lite.load(REGISTERS["status"].offset)

        await lite.store(REGISTERS["interrupt_enable"].offset, 1)
        ctx.set(dut.commands.error.code, ErrorCode.BUS)
        ctx.set(dut.commands.error.index, 77)
        await pulse(dut.commands.failed)
        assert ctx.get(dut.interrupt)
        assert await status() == 0b01100
        assert await lite.load(REGISTERS["error_code"].offset) == ErrorCode.BUS
        assert await lite.load(REGISTERS["error_index"].offset) == 77
        await lite.store(REGISTERS["control"].offset, 4)
        assert not ctx.get(dut.interrupt)
        assert await status() == 0b00100
        await pulse(dut.commands.accepted)
        assert await status() == 0
        await pulse(dut.commands.accepted, dut.commands.failed)
        assert await status() == 0b01100, "a refused start was not reported"
        await lite.store(REGISTERS["control"].offset, 2)
        assert await status() == 0
        await pulse(dut.commands.finished)
        assert await status() == 0b01110 - 0b00100
        ctx.set(dut.commands.draining, 1)
        ctx.set(dut.commands.busy, 1)
        assert await status() == 0b11011

    simulate(dut, bench)


@pytest.mark.parametrize("lead", range(-4, 5))
def test_no_interrupt_is_lost_to_a_clear(lead: int) -> None:
    """A clear takes ends of earlier cycles; one of its own cycle or later stays."""
    dut = Registers()

    async def bench(ctx):
        await Lite(ctx, dut.axi).store(REGISTERS["interrupt_enable"].offset, 1)
        ctx.set(dut.axi.bready, 1)
        for cycle in range(20):
            written = cycle == 8
            for port in (dut.axi.awvalid, dut.axi.wvalid):
                ctx.set(port, written)
            ctx.set(dut.axi.awaddr, REGISTERS["control"].offset)
            ctx.set(dut.axi.wdata, 4)
            ctx.set(dut.axi.wstrb, 1)
            ctx.set(dut.commands.finished, cycle == 9 + lead)
            await ctx.tick()
        assert ctx.get(dut.interrupt) == (lead >= 0)

    simulate(dut, bench)
