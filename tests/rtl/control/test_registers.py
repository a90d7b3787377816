"""Registers on their bus."""

import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import (
    COUNTERS_OFFSET,
    MAGIC,
    REGISTERS,
    VERSION,
    Access,
    configuration,
    register_map,
)
from deltamoe.rtl.control.registers import Registers
from deltamoe.rtl.memory.axi import OKAY
from deltamoe.rtl.program import ErrorCode
from tests.support.bench import simulate

NANO = PRESETS["nano"]
WRITABLE = {register.offset for register in REGISTERS.values() if register.access is Access.BOTH}
CONTROL, STATUS, PENDING = (REGISTERS[name] for name in ("control", "status", "interrupt_status"))
START, RESET = (CONTROL.mask(name) for name in ("start", "reset"))
BUSY, DONE, ERROR, DRAINING = (
    STATUS.mask(name) for name in ("busy", "done", "error", "draining"))


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


@pytest.mark.parametrize("preset", PRESETS)
def test_after_reset_they_read_as_described(preset: str) -> None:
    """Constants, by the geometry; and nothing has ended."""
    hw = PRESETS[preset]
    dut = Registers(hw)

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)
        for name, register in register_map(hw).items():
            expected = register.reset if register.access.readable else 0
            assert await lite.load(register.offset) == expected, name
        found = {name: await lite.load(REGISTERS[name].offset) for name in REGISTERS}
        assert (found["magic"], found["version"]) == (MAGIC, VERSION)
        assert found["configuration"] == configuration(hw)
        assert found["array"] == hw.groups | hw.lanes << 8
        assert found["maxima"] == hw.max_tokens | hw.max_embed << 16
        assert found["bus"] == hw.bus_bytes | 1 << 8

    simulate(dut, bench)


@pytest.mark.parametrize("first", ["aw", "w"])
@pytest.mark.parametrize("strobe", [0b0000, 0b0001, 0b0010, 0b0100, 0b1000, 0b0110, 0b1111])
def test_bytes_of_fields_are_written_and_no_other_bit(strobe: int, first: str) -> None:
    """Of every register: what its description says, after ones and after zeros."""
    dut = Registers(NANO)
    mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)
        for name in ({*REGISTERS} - {"control"}) | {"cycles_low", "bytes_written_high"}:
            register = register_map(NANO)[name]
            holds = sum(field.mask for field in register.fields)
            holds = holds if register.access is Access.BOTH else 0
            value = register.reset
            for word in (0xFFFFFFFF, 0xA5A5A5A5, 0):
                await lite.store(register.offset, word, strobe, first)
                value = (value & ~(mask & holds)) | (word & mask & holds)
                assert await lite.load(register.offset) == value, name

    simulate(dut, bench)


def test_settings_are_the_registers_of_their_names() -> None:
    """Each is told apart from all others by its value."""
    dut = Registers(NANO)

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)
        for offset in sorted(WRITABLE):
            await lite.store(offset, 0xA5A50000 + offset)
        settings = dut.commands.settings
        for name, value in (
                ("program_low", settings.program_address[:32]),
                ("program_high", settings.program_address[32:]),
                ("program_length", settings.length), ("memory_low", settings.memory_base[:32]),
                ("memory_high", settings.memory_base[32:]),
                ("memory_size", settings.memory_size), ("watchdog", settings.watchdog)):
            assert ctx.get(value) == 0xA5A50000 + REGISTERS[name].offset, name
            assert await lite.load(REGISTERS[name].offset) == ctx.get(value), name

    simulate(dut, bench)


@pytest.mark.parametrize("strobe", [0b0001, 0b1110, 0b1111, 0])
def test_a_command_is_a_pulse_of_its_bit(strobe: int) -> None:
    """Of one cycle; its byte must be written, and no other bit does anything."""
    dut = Registers(NANO)

    async def bench(ctx):
        lite, seen = Lite(ctx, dut.axi), []

        async def command(word: int) -> list[tuple[int, int]]:
            """Write a command; return start and reset in each cycle in which there was one."""
            seen.clear()
            axi = dut.axi
            for name, value in {"awaddr": CONTROL.offset, "wdata": word, "wstrb": strobe,
                                "awvalid": 1, "wvalid": 1, "bready": 1}.items():
                ctx.set(getattr(axi, name), value)
            for _ in range(8):
                await ctx.tick()
                ctx.set(axi.awvalid, 0)
                ctx.set(axi.wvalid, 0)
                now = (ctx.get(dut.commands.start), ctx.get(dut.commands.reset))
                seen.extend([now] if any(now) else [])
            return list(seen)

        for word in (START, RESET, START | RESET, 0xFFFFFFFF & ~(START | RESET)):
            wanted = (int(bool(word & START)), int(bool(word & RESET)))
            taken = strobe & 1 and any(wanted)
            assert await command(word) == [wanted] * bool(taken), hex(word)
        assert await lite.load(CONTROL.offset) == 0

    simulate(dut, bench)


def test_registers_answer_everywhere() -> None:
    """A dump of all 4 KB, and writes to all that is not writable, do no harm."""
    dut = Registers(NANO)
    readable = {register.offset for register in REGISTERS.values() if register.access.readable}
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
            if offset not in WRITABLE | {CONTROL.offset}:
                await lite.store(offset, 0xFFFFFFFF)
                assert (ctx.get(dut.commands.start), ctx.get(dut.commands.reset)) == (0, 0)
                assert await lite.load(offset) == before[offset]
        for offset in WRITABLE:
            assert await lite.load(offset) == before[offset], "another register was written"

    simulate(dut, bench)


def test_registers_report_how_a_program_ended() -> None:
    """And take writes after an error as before it."""
    dut = Registers(NANO)

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)

        async def pulse(*ports) -> None:
            for port in ports:
                ctx.set(port, 1)
            await ctx.tick()
            for port in ports:
                ctx.set(port, 0)

        async def told() -> tuple[int, int, int]:
            """Return status, the interrupt's status, and the interrupt."""
            return (await lite.load(STATUS.offset), await lite.load(PENDING.offset),
                    ctx.get(dut.interrupt))

        await lite.store(REGISTERS["interrupt_enable"].offset, 1)
        ctx.set(dut.commands.error.code, ErrorCode.BUS)
        ctx.set(dut.commands.error.index, 77)
        await pulse(dut.commands.failed)
        assert await told() == (ERROR, 1, 1)
        assert await lite.load(REGISTERS["error_code"].offset) == ErrorCode.BUS
        assert await lite.load(REGISTERS["error_index"].offset) == 77
        for offset in sorted(WRITABLE - {REGISTERS["interrupt_enable"].offset}):
            await lite.store(offset, 0x5A5A0000 + offset)
            assert await lite.load(offset) == 0x5A5A0000 + offset
        assert await told() == (ERROR, 1, 1)
        await lite.store(PENDING.offset, 1)
        assert await told() == (ERROR, 0, 0)
        await pulse(dut.commands.accepted)
        assert await told() == (0, 0, 0)
        await pulse(dut.commands.accepted, dut.commands.failed)
        assert await told() == (ERROR, 1, 1), "a refused start was not reported"
        await lite.store(CONTROL.offset, RESET)
        assert await told() == (0, 0, 0)
        await pulse(dut.commands.finished)
        assert await told() == (DONE, 1, 1)
        await pulse(dut.commands.accepted)
        assert await told() == (0, 0, 0)
        await pulse(dut.commands.finished)
        ctx.set(dut.commands.draining, 1)
        ctx.set(dut.commands.busy, 1)
        assert await told() == (BUSY | DONE | DRAINING, 1, 1)

    simulate(dut, bench)


def test_the_interrupt_is_status_and_enable() -> None:
    """A level: an end is kept while it is not enabled; only a one in its byte clears it."""
    dut = Registers(NANO)
    enable = REGISTERS["interrupt_enable"].offset

    async def bench(ctx):
        lite = Lite(ctx, dut.axi)
        ctx.set(dut.commands.finished, 1)
        await ctx.tick()
        ctx.set(dut.commands.finished, 0)
        assert not ctx.get(dut.interrupt)
        assert await lite.load(PENDING.offset) == 1
        for value in (1, 0, 0xFFFFFFFE, 1):
            await lite.store(enable, value)
            assert ctx.get(dut.interrupt) == value & 1
        for word, strobe in ((0, 15), (0xFFFFFFFE, 15), (1, 0b1110), (1, 0)):
            await lite.store(PENDING.offset, word, strobe)
            assert ctx.get(dut.interrupt), (word, strobe)
        await lite.store(PENDING.offset, 1, 0b0001)
        assert not ctx.get(dut.interrupt)
        assert await lite.load(PENDING.offset) == 0
        assert await lite.load(STATUS.offset) == DONE

    simulate(dut, bench)


@pytest.mark.parametrize("lead", range(-4, 5))
@pytest.mark.parametrize("end", ["finished", "failed"])
def test_no_interrupt_is_lost_to_a_clear(end: str, lead: int) -> None:
    """A clear takes ends of earlier cycles; one of its own cycle or later stays."""
    dut = Registers(NANO)

    async def bench(ctx):
        await Lite(ctx, dut.axi).store(REGISTERS["interrupt_enable"].offset, 1)
        ctx.set(dut.axi.bready, 1)
        for cycle in range(20):
            written = cycle == 8
            for port in (dut.axi.awvalid, dut.axi.wvalid):
                ctx.set(port, written)
            ctx.set(dut.axi.awaddr, PENDING.offset)
            ctx.set(dut.axi.wdata, 1)
            ctx.set(dut.axi.wstrb, 1)
            ctx.set(getattr(dut.commands, end), cycle == 9 + lead)
            await ctx.tick()
        assert ctx.get(dut.interrupt) == (lead >= 0)

    simulate(dut, bench)
