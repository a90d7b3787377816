"""Items that find which rows changed."""

import pytest

from deltamoe.rtl.program import Dest, Linear, Source
from deltamoe.rtl.temporal.probe_items import ProbeItems
from tests.support.bench import put, simulate
from tests.support.case import encoded
from tests.support.cases import HW, P


@pytest.mark.parametrize("changes", [[0, 0, 0], [1, 0, 1], [0, 1, 1]])
def test_probe_copies_the_rows_that_changed(changes: list[int]) -> None:
    """A row of three words, judged by its last; then the next, or the same once more."""
    dut, words = ProbeItems(HW), 3

    async def bench(ctx):
        put(ctx, dut.operator.descriptor, encoded(Linear(
            dest=Dest.CHANGED, rows=len(changes), depth=words * P - 1, source=Source.NORMED,
            source_base=9, source_stride=4, reference_base=50, theta=2, operand_signed=True)))
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.operator.start, 1)
        items, done, judged, first = [], None, -1, 0
        for cycle in range(40):
            if ctx.get(dut.o.valid):
                item = dut.o.p
                items.append(tuple(ctx.get(item[name]) for name in (
                    "address", "reference_address", "updates", "dense", "words", "tail")))
                assert ctx.get(item.probe)
                judged = judged if ctx.get(item.updates) else cycle + words
                first = cycle if len(items) == 1 else first
            ctx.set(dut.verdict.valid, cycle == judged)
            ctx.set(dut.verdict.payload, changes[min(ctx.get(dut.row), 2)])
            if ctx.get(dut.done):
                assert done is None
                done = cycle
            await ctx.tick()
            ctx.set(dut.operator.start, 0)
        expected = []
        for row, changed in enumerate(changes):
            for updates in range(1 + changed):
                expected.append((9 + 4 * row, 50 + 4 * row, updates, updates, words, P - 1))
        assert items == expected
        assert first == ProbeItems.LATENCY
        assert done == first + (words + 1) * len(changes) + sum(changes) - 1

    simulate(dut, bench)
