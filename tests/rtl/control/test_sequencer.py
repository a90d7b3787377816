"""The sequencer runs a program, and reports what went wrong."""

import pytest

from deltamoe.rtl.control.sequencer import Sequencer
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.program import ErrorCode, Halt, Linear, Load, Target
from tests.support.bench import drive, get, simulate
from tests.support.case import encoded
from tests.support.cases import HW, P


def test_sequencer_runs_a_program() -> None:
    program = [Load(target=Target.RESIDUAL, beats=1),
               Linear(rows=1, depth=1, columns=P, passes=1, wait_loads=1), Halt()]
    dut = Sequencer(HW)

    async def bench(ctx):
        await fetch(ctx, dut, program)
        order = []
        for _ in range(80):
            loads = ctx.get(dut.transfer.valid)
            ctx.set(dut.transfer.ready, loads)
            order += ["load"] * loads + ["issue"] * ctx.get(dut.issue.operator.start)
            order += ["drain"] * ctx.get(dut.draining.operator.start)
            order += ["ended"] * ctx.get(dut.program.ended)
            ctx.set(dut.program.running, "ended" not in order)
            ctx.set(dut.issue.issued, "issue" in order)
            ctx.set(dut.draining.written, order[-1:] == ["drain"])
            await ctx.tick()
            assert get(ctx, dut.program.problem.code) == ErrorCode.NONE
        assert order[:4] == ["load", "issue", "drain", "ended"]
        assert set(order[4:]) == {"ended"}, "something began behind the end"
        ctx.set(dut.program.running, 1)
        ctx.set(dut.bus_error, 1)
        assert not ctx.get(dut.program.ended), "the last beat came with an error"
        await ctx.tick()
        ctx.set(dut.bus_error, 0)
        assert get(ctx, dut.program.problem.code) == ErrorCode.BUS
        await begin(ctx, dut)
        assert not ctx.get(dut.program.ended), "the end before is taken for the next one's"

    simulate(dut, bench)


@pytest.mark.parametrize("port", ["bus_error", "store_error"])
def test_sequencer_reports_what_the_bus_answered(port: str) -> None:
    """While a program runs, with the place of the transfer."""
    dut = Sequencer(HW)

    async def bench(ctx):
        ctx.set(dut.program.settings.length, 3)
        ctx.set(dut.stores.position, 77)
        ctx.set(getattr(dut, port), 1)
        assert get(ctx, dut.program.problem.code) == ErrorCode.NONE, "nothing runs"
        await begin(ctx, dut)
        assert get(ctx, dut.program.problem.code) == ErrorCode.NONE
        await ctx.tick()
        ctx.set(getattr(dut, port), 0)
        assert get(ctx, dut.program.problem.code) == ErrorCode.BUS
        assert ctx.get(dut.program.problem.index) == (77 if port == "store_error" else 0)

    simulate(dut, bench)


def test_an_error_of_a_last_beat_is_of_its_own_transfer() -> None:
    """It is told a cycle later, when the next transfer is before the loader already."""
    load = Load(target=Target.RESIDUAL, beats=1)
    dut = Sequencer(HW)

    async def bench(ctx):
        await fetch(ctx, dut, [load, load, load, Halt()])
        ctx.set(dut.transfer.ready, 0)
        await ctx.tick().repeat(100)
        for position in range(2):
            assert ctx.get(dut.transfer.p.position) == position
            ctx.set(dut.transfer.ready, 1)
            await ctx.tick()
        ctx.set(dut.transfer.ready, 0)
        ctx.set(dut.bus_error, 1)
        assert ctx.get(dut.transfer.p.position) == 2
        await ctx.tick()
        assert get(ctx, dut.program.problem.code) == ErrorCode.BUS
        assert ctx.get(dut.program.problem.index) == 1

    simulate(dut, bench)


async def fetch(ctx, dut: Sequencer, program: list) -> None:
    """Begin a program, and give it when the sequencer asks for it."""
    ctx.set(dut.program.settings.length, len(program))
    ctx.set(dut.program.settings.memory_size, 64)
    ctx.set(dut.command.ready, 1)
    await begin(ctx, dut)
    assert not ctx.get(dut.transfer.valid), "it is handed on by a register"
    await ctx.tick()
    assert (ctx.get(dut.transfer.valid), ctx.get(dut.transfer.p.program)) == (1, 1)
    parts, bits = Walker.parts(HW), 8 * HW.bus_bytes
    for row in range(parts * len(program)):
        data = encoded(program[row // parts]) >> row % parts * bits
        drive(ctx, dut.code, en=1, address=row, data=data & ((1 << bits) - 1))
        ctx.set(dut.transfer.ready, row == parts * len(program) - 1)
        await ctx.tick()
    drive(ctx, dut.code)


async def begin(ctx, dut: Sequencer) -> None:
    """Begin a program."""
    ctx.set(dut.program.begin, 1)
    await ctx.tick()
    ctx.set(dut.program.begin, 0)
    ctx.set(dut.program.running, 1)
