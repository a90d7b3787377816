"""Cycles of LayerNorm, which its docstring states and the simulator uses."""

import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.norm.layer_norm import LayerNorm
from tests.support import pysim
from tests.support.bench import simulate
from tests.support.cases import HW, P, first_rows, make

PATTERN = "full_rate"


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_layer_norm(rows: int) -> None:
    case, words = make("layer_norm", 0), 24 // P
    assert pysim.run(first_rows(case, rows), PATTERN, 0) == (
        3 * words - 2 + LayerNorm.latency(HW) + (rows - 1) * max(2 * words, LayerNorm.SCALAR + 1))


@pytest.mark.parametrize("unit", [LayerNorm, Softmax])
def test_short_rows_do_not_overtake_those_that_are_held(unit: type) -> None:
    """A row of one word comes sooner than the one before it is known; no fifth is taken."""
    dut = unit(PRESETS["zcu102"])

    async def bench(ctx):
        ctx.set(dut.i.p.last, 1)
        ctx.set(dut.i.valid, 1)
        for _ in range(unit.ROWS):
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        assert not ctx.get(dut.i.ready)

    simulate(dut, bench)
