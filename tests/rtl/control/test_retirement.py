"""Operators end in order, or are deferred."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from deltamoe.rtl.control.retirement import ISSUED, Retirement
from deltamoe.rtl.formats import STORING
from deltamoe.rtl.program import Attention, Descriptor, Dest, Linear, Store, Target
from tests.support.bench import get, put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import HW
from tests.support.descriptors import arbitrary


@dataclass(frozen=True)
class Passage:
    """An operator, and the cycles in which it goes through the unit.

    It is offered from ``offered`` on and enters in ``entered``; it drains from ``started`` to
    ``left``, while its last result is written in ``worked``; it has finished in ``ended``.
    """

    descriptor: Descriptor
    op: int
    position: int
    empty: bool
    offered: int
    entered: int
    started: int
    worked: int
    left: int
    ended: int

    @property
    def defers(self) -> bool:
        """Whether the next may drain before it has ended."""
        return not self.empty and getattr(self.descriptor, "dest", None) in {Dest.KEY, Dest.GATE}

    @property
    def stores(self) -> bool:
        return isinstance(self.descriptor, Store)

    @property
    def awaited(self) -> bool:
        """Whether it ends with the answers to its transfer."""
        return self.stores and self.descriptor.target == Target.RESIDUAL

    @property
    def writes(self) -> bool:
        """Whether it has results that are drained."""
        return not self.empty and not self.stores

    def drains(self, cycle: int) -> bool:
        return self.started <= cycle <= self.left

    def request(self) -> dict[str, int]:
        """What a ``STORE`` asks for."""
        return {name: getattr(self.descriptor, name)
                for name in ("target", "base", "address", "beats")} | {"position": self.position}


def operators(rng: np.random.Generator) -> Iterator[tuple[Descriptor, bool]]:
    """Draw operators of each kind, and whether they are empty.

    Those of attention have any bits where others have their destination or target.
    """
    while True:
        yield (
            lambda: (arbitrary(rng, Linear, dest=int(rng.choice(Dest))), rng.random() < 0.2),
            lambda: (arbitrary(rng, Linear, dest=int(rng.choice([Dest.KEY, Dest.GATE]))),
                     rng.random() < 0.2),
            lambda: (arbitrary(rng, Attention), False),
            lambda: (arbitrary(rng, Store, target=int(rng.choice(
                [Target.RESIDUAL, Target.STATE, Target.REFERENCE]))), False),
        )[rng.integers(4)]()


def passages(rng: np.random.Generator, count: int, patience: int) -> list[Passage]:
    """Draw operators that come and work with pauses shorter than ``patience``.

    Each starts behind the one before it. One is deferred at a time: the next of its kind waits for
    its end to start, any other to leave.
    """
    passed: list[Passage] = []
    deferred = -1
    for number, (descriptor, empty) in zip(range(count), operators(rng), strict=False):
        pause = rng.integers(patience, size=2).tolist()
        before = passed[-1] if passed else None
        offered = before.entered + 1 + pause[0] if before else 2
        entered = offered if number < Retirement.DEPTH else max(
            offered, passed[number - Retirement.DEPTH].left + 1)
        now = Passage(descriptor, int(rng.integers(8)), int(rng.integers(1 << 16)), empty, offered,
                      entered, 0, 0, 0, 0)
        started = max(entered, before.left if before else 0, deferred if now.defers else 0) + 1
        worked = started + pause[1] + 1 if now.writes or now.awaited else started
        left = max(worked, deferred + 1)
        ended = left + 1 + int(rng.integers(3 * patience)) if now.defers else left
        deferred = ended if now.defers else deferred
        passed.append(Passage(descriptor, now.op, now.position, empty, offered, entered, started,
                              worked, left, ended))
    return passed


@pytest.mark.parametrize("patience", [1, 4, 12])
def test_operators_pass_in_the_cycles_of_the_docstring(patience: int, seed: int) -> None:
    """Each output, in each cycle, of operators of all kinds behind each other."""
    rng = np.random.default_rng([seed, patience])
    dut, passed = Retirement(HW), passages(rng, 80, patience)
    assert sum(one.ended > following.started for one, following in pairwise(passed)) > 5, (
        "hardly any drains behind a deferred one")

    async def bench(ctx):
        rows = 0
        for cycle in range(max(one.ended for one in passed) + 3):
            draining = next((one for one in passed if one.drains(cycle)), None)
            offered = next((one for one in passed if one.offered <= cycle <= one.entered), None)
            behind = next((one for one in passed if one.defers and one.left < cycle <= one.ended),
                          None)
            ctx.set(dut.i.valid, offered is not None)
            put(ctx, dut.i.payload, pack(ISSUED, {
                "op": offered.op, "position": offered.position, "empty": offered.empty,
                }) | encoded(offered.descriptor) if offered else int(rng.integers(1 << 62)))
            works = draining is not None and draining.writes
            writes_row = works and cycle <= draining.worked and rng.random() < 0.3
            ctx.set(dut.draining.row_written, writes_row)
            ctx.set(dut.draining.written, works and cycle == draining.worked)
            ctx.set(dut.stored, cycle == draining.worked if draining and draining.awaited
                else rng.random() < 0.3)
            ctx.set(dut.deferred.ended, behind is not None and cycle == behind.ended)

            waiting = sum(one.entered < cycle <= one.left for one in passed)
            assert ctx.get(dut.i.ready) == (waiting < Retirement.DEPTH)
            assert ctx.get(dut.idle) == (not waiting and not behind)
            assert ctx.get(dut.finished) == sum(one.ended < cycle for one in passed)
            assert ctx.get(dut.draining.active) == (draining is not None)
            starts = draining is not None and draining.started == cycle
            assert ctx.get(dut.draining.operator.start) == starts
            assert ctx.get(dut.stores.valid) == (starts and draining.stores)
            if draining:
                assert ctx.get(dut.draining.op) == draining.op
                assert ctx.get(dut.position) == draining.position
                assert get(ctx, dut.draining.operator.descriptor) == encoded(draining.descriptor)
            if starts and draining.stores:
                assert get(ctx, dut.stores.payload) == pack(STORING, draining.request())
            late = next((one for one in passed if one.defers and one.started < cycle <= one.ended),
                        None)
            assert ctx.get(dut.deferred.operator.start) == (
                late is not None and late.started == cycle - 1)
            if late:
                assert get(ctx, dut.deferred.operator.descriptor) == encoded(late.descriptor)
            if not behind:
                assert ctx.get(dut.rows) == rows
            rows = 0 if draining and cycle == draining.left else rows + writes_row
            await ctx.tick()
        ctx.set(dut.restart, 1)
        await ctx.tick()
        assert ctx.get(dut.finished) == 0, "a program begins"

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
