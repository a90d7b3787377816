"""Executors of loads and of operators."""

import numpy as np
import pytest

from deltamoe.rtl.control.executor import ComputeExecutor, LoadExecutor
from deltamoe.rtl.control.retirement import ISSUED
from deltamoe.rtl.descriptor import DESCRIPTOR
from deltamoe.rtl.formats import COMMAND, TRANSFER
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.program import Attention, Compute, Dest, Linear, Load, Store, Target
from tests.support.bench import get, put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import HW
from tests.support.descriptors import arbitrary


def near(rng: np.random.Generator, number: int) -> int:
    """Draw a count that a counter at ``number`` has reached, or soon will."""
    return max(0, number + int(rng.integers(-3, 4)))


def drawn_load(rng: np.random.Generator, computes: int, stores: int) -> Load:
    """Draw what the load executor may be offered when so many have finished."""
    return arbitrary(rng, Load, target=int(rng.choice(Target)), routed=near(rng, computes),
                     wait_computes=near(rng, computes), wait_stores=near(rng, stores))


@pytest.mark.parametrize("often", [0.2, 0.7, 1])
def test_loads_pass_in_the_cycles_of_the_docstring(often: float, seed: int) -> None:
    """Each output, in each cycle, past a loader and a reader that are ready ``often``."""
    rng, dut = np.random.default_rng([seed, int(10 * often)]), LoadExecutor(HW)
    program, memory = (int(rng.integers(1 << 39)) for _ in range(2))
    skipped = []

    async def bench(ctx):
        load, seen, command = None, None, None
        computes, stores = 4, 4
        ctx.set(dut.settings.program_address, program)
        ctx.set(dut.settings.memory_base, memory)
        for cycle in range(1200):
            computes, stores = computes + (rng.random() < 0.2), stores + (rng.random() < 0.2)
            fetch = load is None and command is None and (cycle == 3 or rng.random() < 0.1)
            if load is None and cycle > 3 and not fetch and rng.random() < often:
                load = drawn_load(rng, computes, stores)
            raw = encoded(load or drawn_load(rng, computes, stores))
            index, beats = int(rng.integers(1 << 16)), int(rng.integers(1 << 24))
            room, asks, occupied = rng.random(3) < (often, often, 0.5)
            for port, value in (
                    (dut.fetch, fetch), (dut.beats, beats), (dut.index, index),
                    (dut.finished.computes, computes), (dut.finished.stores, stores),
                    (dut.occupied.data, occupied), (dut.o.ready, room), (dut.command.ready, asks),
                    (dut.i.valid, load is not None)):
                ctx.set(port, int(value))
            put(ctx, dut.i.payload, raw)

            met, skips = seen or (False, False)
            taken = met and room and command is None
            assert ctx.get(dut.i.ready) == taken
            assert ctx.get(dut.idle) == (command is None)
            assert ctx.get(dut.waits) == (command is None and seen is not None and not taken)
            assert ctx.get(dut.o.valid) == (taken or fetch)
            if load:
                assert ctx.get(dut.occupied.address) == load.expert
            if taken:
                assert get(ctx, dut.o.payload) == pack(TRANSFER, {
                    "position": index, "skip": skips, "into": 1 << load.target}) | raw
            if fetch:
                assert get(ctx, dut.o.payload) >> DESCRIPTOR.size == pack(
                    TRANSFER, {"program": 1}) >> DESCRIPTOR.size
            assert ctx.get(dut.command.valid) == (command is not None)
            if command is not None:
                assert get(ctx, dut.command.payload) == pack(COMMAND, command)

            if load and not taken:
                empty = load.skip_if_empty and not occupied and computes >= load.routed
                seen = ((computes >= load.wait_computes or empty) and stores >= load.wait_stores,
                        empty)
            else:
                seen = None
            if fetch:
                command = {"address": program, "beats": beats}
            elif taken and not skips:
                command = {"address": memory + load.address, "beats": load.beats}
            elif asks:
                command = None
            if taken:
                skipped.append(skips)
                load = None
            await ctx.tick()

    simulate(dut, bench)
    assert skipped.count(True) > 5
    assert skipped.count(False) > 20


KEPT = (Target.STATE, Target.REFERENCE)
"""What a ``STORE`` reads beside the residual stream."""


def drawn(rng: np.random.Generator, loads: int, computes: int, targets: tuple[Target, ...]
          ) -> Compute:
    """Draw what the compute executor may be offered when so many have finished.

    ``ATTENTION`` and ``STORE`` have any bits where ``LINEAR`` has its queue and destination.
    """
    waits = {"wait_loads": near(rng, loads),
             "wait_computes": near(rng, computes) if rng.random() < 0.8 else 0}
    rows = int(rng.integers(1, HW.max_tokens + 1))
    match rng.integers(6):
        case 0:
            return arbitrary(rng, Attention, rows=rows, **waits)
        case 1:
            return arbitrary(rng, Linear, dest=Dest.CHANGED, gather=0, scatter=0, rows=rows,
                             **waits)
        case 2 | 3 | 4:
            return arbitrary(rng, Store, target=int(rng.choice(targets)), **waits)
    return arbitrary(rng, Linear, dest=int(rng.choice(list(set(Dest) - {Dest.CHANGED}))),
                     rows=rows, **waits)


@pytest.mark.parametrize("often", [0.3, 1])
def test_operators_are_issued_in_the_cycles_of_the_docstring(often: float, seed: int) -> None:
    """Each output, in each cycle; for a time transfers of ``STORE`` only if their queue is full."""
    rng, dut = np.random.default_rng([seed, int(10 * often)]), ComputeExecutor(HW)
    taken, full, together = [], 0, 0

    async def bench(ctx):
        nonlocal full, together
        offered, valid, room, phase, pending = None, False, False, "idle", 0
        current, position, rows, op = None, 0, 0, 0
        loads, computes = 2, 2
        for cycle in range(2500):
            loads, computes = loads + (rng.random() < 0.3), computes + (rng.random() < 0.3)
            valid = offered is not None
            seldom = cycle // 625 % 2 == 1
            if offered is None and rng.random() < often:
                offered = drawn(rng, loads, computes, KEPT if seldom else (Target.RESIDUAL, *KEPT))
            index, length = int(rng.integers(1 << 16)), int(rng.integers(4) * rng.integers(2))
            finished_rows = int(rng.integers(HW.max_tokens + 1))
            room = room or rng.random() < often
            issued = phase == "run" and rng.random() < often
            for port, value in (
                    (dut.index, index), (dut.lengths.data, length), (dut.o.ready, room),
                    (dut.finished.loads, loads), (dut.finished.computes, computes),
                    (dut.finished.rows, finished_rows), (dut.i.valid, valid),
                    (dut.issue.issued, issued)):
                ctx.set(port, int(value))
            put(ctx, dut.i.payload, encoded(offered or arbitrary(rng, Linear)))

            takes = False
            if valid:
                stores = isinstance(offered, Store)
                held = stores and pending >= (
                    1 if offered.target == Target.RESIDUAL else StoreReader.DEPTH)
                full += held and pending == StoreReader.DEPTH and offered.target != Target.RESIDUAL
                by_row = not stores and offered.by_row and offered.wait_computes > 0
                loaded = loads >= offered.wait_loads
                free = computes >= offered.wait_computes - by_row and room and not held
                takes = phase == "idle" and loaded and free
                assert ctx.get(dut.i.ready) == takes
                assert ctx.get(dut.waits_loads) == (phase == "idle" and not loaded)
                assert ctx.get(dut.waits_computes) == (phase == "idle" and loaded and not free)
                if isinstance(offered, Linear):
                    assert ctx.get(dut.lengths.address) == offered.queue
            else:
                assert (ctx.get(dut.waits_loads), ctx.get(dut.waits_computes)) == (0, 0)
            stored = pending > (StoreReader.DEPTH - 1 if seldom else 0) and rng.random() < (
                0.02 if seldom else 0.5 if takes else 0.1)
            ctx.set(dut.stored, int(stored))
            assert ctx.get(dut.idle) == (phase == "idle")
            assert ctx.get(dut.pending) == (1 << pending) - 1
            assert ctx.get(dut.issue.ready_rows) == finished_rows
            probes = getattr(current, "dest", None) == Dest.CHANGED
            runs = not isinstance(current, Store) and rows > 0
            assert ctx.get(dut.issue.operator.start) == (phase == "issue" and runs)
            goes = issued if probes else phase == "issue"
            assert ctx.get(dut.o.valid) == goes
            if phase != "idle":
                assert get(ctx, dut.issue.operator.descriptor) == encoded(current)
                assert ctx.get(dut.issue.op) == op
                assert ctx.get(dut.issue.released) == (computes >= current.wait_computes)
                if not isinstance(current, Store):
                    assert ctx.get(dut.issue.rows) == rows
            if goes:
                empty = probes or (rows == 0 and not isinstance(current, Store))
                assert get(ctx, dut.o.payload) == pack(ISSUED, {
                    "position": position, "op": op, "empty": empty}) | encoded(current)

            room = room and not goes
            if phase == "issue":
                phase = "run" if runs else "idle"
            elif issued:
                phase = "idle"
            if takes:
                together += stored and stores
                pending += stores
                queued = isinstance(offered, Linear) and offered.queued
                current, position, op, phase = offered, index, (op + 1) % 8, "issue"
                rows = length if queued else getattr(offered, "rows", 1)
                taken.append((type(offered), rows == 0))
                offered = None
            pending -= stored
            await ctx.tick()

    simulate(dut, bench)
    assert min(taken.count((kind, False)) for kind in (Attention, Linear, Store)) > 10
    assert taken.count((Linear, True)) > 5
    assert full > 0, "there is always room for a transfer"
    assert together > 0, "no transfer begins as another finishes"


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
