"""From checked descriptors to their end: executors, retirement, sequencer."""

import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl.control.executor import ComputeExecutor, LoadExecutor
from deltamoe.rtl.control.retirement import ISSUED, Retirement
from deltamoe.rtl.control.sequencer import Sequencer
from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.program import Dest, ErrorCode, Halt, Linear, Load, Store, Target
from tests.support.bench import drive, get, put, simulate
from tests.support.case import encoded, pack

HW = PRESETS["nano"]
P = HW.word


def test_load_executor_waits_and_skips() -> None:
    dut = LoadExecutor(HW)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        put(ctx, dut.i.payload, encoded(Load(wait_computes=2, address=72, beats=5)))
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.index, 9)
        ctx.set(dut.settings.memory_base, 1 << 33)
        ctx.set(dut.finished.computes, 1)
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (0, 0), "it has not been looked at"
        await ctx.tick()
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.finished.computes, 2)
        assert not ctx.get(dut.i.ready), "it is looked at in one cycle and taken in the next"
        await ctx.tick()
        assert ctx.get(dut.i.ready)
        assert ctx.get(dut.o.valid)
        assert (ctx.get(dut.o.p.position), ctx.get(dut.o.p.skip)) == (9, 0)
        await ctx.tick()
        put(ctx, dut.i.payload, encoded(
            Load(skip_if_empty=True, wait_computes=3, routed=3, expert=3, beats=1)))
        assert (ctx.get(dut.command.p.address), ctx.get(dut.command.p.beats)) == ((1 << 33) + 72, 5)
        assert (ctx.get(dut.command.valid), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.command.ready, 1)
        await ctx.tick()
        assert (ctx.get(dut.command.valid), ctx.get(dut.idle)) == (0, 1)
        assert ctx.get(dut.occupied.address) == 3
        assert not ctx.get(dut.i.ready), "what was seen of the load before is not this one's"
        ctx.set(dut.o.ready, 0)
        for computes, occupied, skipped, judged in (
                (2, 0, 0, "the routing is not known yet"), (3, 0, 1, "the queue is empty"),
                (3, 1, 0, "the queue has tokens"), (3, 0, 1, "it is empty again")):
            ctx.set(dut.finished.computes, computes)
            ctx.set(dut.occupied.data, occupied)
            await ctx.tick()
            assert ctx.get(dut.o.p.skip) == skipped, judged
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (1, 0), "the loader has no room"
        ctx.set(dut.o.ready, 1)
        assert (ctx.get(dut.waits), ctx.get(dut.i.ready)) == (0, 1)
        await ctx.tick()
        assert (ctx.get(dut.command.valid), ctx.get(dut.idle)) == (0, 1), "nothing is read"
        assert not ctx.get(dut.i.ready), "the next is looked at for itself"
        put(ctx, dut.i.payload, encoded(Load(wait_stores=1, beats=1)))
        await ctx.tick()
        assert not ctx.get(dut.i.ready), "a transfer has not finished"
        ctx.set(dut.finished.stores, 1)
        await ctx.tick()
        assert ctx.get(dut.i.ready)

    simulate(dut, bench)


def test_compute_executor_issues_in_order() -> None:
    dut = ComputeExecutor(HW)
    started = dut.issue.operator.start

    async def bench(ctx):
        async def offer(descriptor) -> None:
            ctx.set(dut.i.valid, 0)
            put(ctx, dut.i.payload, encoded(descriptor))
            await ctx.tick()
            ctx.set(dut.i.valid, 1)

        await offer(Linear(wait_loads=1, wait_computes=4, by_row=True, rows=2))
        ctx.set(dut.lengths.data, 9)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.finished.computes, 2)
        assert (ctx.get(dut.waits_loads), ctx.get(dut.waits_computes)) == (1, 0)
        ctx.set(dut.finished.loads, 1)
        assert (ctx.get(dut.waits_loads), ctx.get(dut.waits_computes)) == (0, 1)
        ctx.set(dut.finished.computes, 3)
        ctx.set(dut.o.ready, 0)
        assert (ctx.get(dut.waits_computes), ctx.get(dut.i.ready)) == (1, 0)
        ctx.set(dut.o.ready, 1)
        op = ctx.get(dut.issue.op)
        await ctx.tick()
        assert ctx.get(dut.issue.rows) == 2, "not the length of a queue"
        assert ctx.get(started)
        assert (ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (1, 0)
        assert ctx.get(dut.issue.op) == op + 1
        assert not ctx.get(dut.issue.released), "its last row is still to come"
        ctx.set(dut.finished.computes, 4)
        assert ctx.get(dut.issue.released)
        await ctx.tick().repeat(3)
        assert (ctx.get(started), ctx.get(dut.o.valid), ctx.get(dut.idle)) == (0, 0, 0)
        ctx.set(dut.issue.issued, 1)
        await ctx.tick()
        ctx.set(dut.issue.issued, 0)
        assert ctx.get(dut.idle)
        await offer(Linear(wait_loads=1, wait_computes=4, gather=True, queue=5, rows=2))
        assert ctx.get(dut.lengths.address) == 5
        ctx.set(dut.lengths.data, 0)
        await ctx.tick()
        ctx.set(dut.lengths.data, 7)
        assert ctx.get(dut.issue.rows) == 0, "the length when it was taken"
        assert (ctx.get(started), ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (0, 1, 1)
        await ctx.tick()
        assert ctx.get(dut.idle), "an operator without rows has no items to wait for"
        await offer(Store(target=Target.REFERENCE, wait_computes=5, address=0xFFFF_FFFF,
                          base=0xFFFF))
        assert not ctx.get(dut.i.ready), "a store waits for nothing row by row"
        ctx.set(dut.finished.computes, 5)
        assert ctx.get(dut.i.ready)
        await ctx.tick()
        assert (ctx.get(started), ctx.get(dut.o.valid), ctx.get(dut.o.p.empty)) == (0, 1, 0)
        await ctx.tick()
        assert (ctx.get(dut.idle), ctx.get(dut.pending)) == (1, 1), "its transfer runs beside"

    simulate(dut, bench)


def test_retirement_defers_keys_and_keeps_order() -> None:
    dut = Retirement(HW)
    key, query = Linear(dest=Dest.KEY, rows=3), Linear(dest=Dest.ACT, rows=4)

    async def bench(ctx):
        async def pulse(port) -> None:
            ctx.set(port, 1)
            await ctx.tick()
            ctx.set(port, 0)

        for op, (layer, empty) in enumerate(((key, 0), (query, 0), (query, 1), (key, 0))):
            assert ctx.get(dut.i.ready)
            put(ctx, dut.i.payload, pack(ISSUED, {"op": op, "empty": empty})
                | encoded(layer))
            await pulse(dut.i.valid)
        assert not ctx.get(dut.i.ready), "four are held"
        assert (ctx.get(dut.draining.active), ctx.get(dut.draining.op)) == (1, 0)
        await pulse(dut.draining.row_written)
        assert ctx.get(dut.rows) == 1
        await pulse(dut.draining.written)
        assert (ctx.get(dut.draining.op), ctx.get(dut.draining.operator.start)) == (1, 1)
        assert ctx.get(dut.rows) == 0
        assert ctx.get(dut.deferred.operator.descriptor.linear.rows) == 3
        await pulse(dut.draining.written)
        await ctx.tick()
        assert (ctx.get(dut.draining.op), ctx.get(dut.finished)) == (1, 0), "the keys are not there"
        await pulse(dut.deferred.ended)
        assert ctx.get(dut.finished) == 1
        await ctx.tick()
        assert (ctx.get(dut.draining.op), ctx.get(dut.finished)) == (2, 2)
        await ctx.tick()
        assert (ctx.get(dut.draining.op), ctx.get(dut.finished)) == (3, 3), "it was empty"
        assert ctx.get(dut.draining.operator.start)
        await ctx.tick()
        assert (ctx.get(dut.deferred.operator.start), ctx.get(dut.idle)) == (1, 0)
        await pulse(dut.draining.written)
        assert not ctx.get(dut.idle)
        await pulse(dut.deferred.ended)
        assert (ctx.get(dut.idle), ctx.get(dut.finished)) == (1, 4)

    simulate(dut, bench)


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
