"""Cycles that the docstrings state and the simulator uses, measured at full rate."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl import formats
from deltamoe.rtl.attention.corner_turn import CornerTurn
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.moe.gate import Gate
from deltamoe.rtl.norm.layer_norm import LayerNorm
from tests.support import pysim
from tests.support.bench import get, put, simulate
from tests.support.case import Case, control
from tests.support.cases import HW, P, make, words_of

PATTERN = "full_rate"


def first_rows(case: Case, rows: int, port: str = "o") -> Case:
    """Keep ``rows`` rows of a case whose rows all have the same length."""
    given, made = (len(case.inputs["i"]), len(case.outputs[port]))
    total = {"layer_norm": 15, "gate": 20}[case.name]
    return replace(case, inputs={"i": case.inputs["i"][: given // total * rows]},
                   outputs={port: case.outputs[port][: made // total * rows]})


@pytest.mark.parametrize("words", [1, 2, 7])
def test_softmax(words: int) -> None:
    row = [0] * (words * P)
    case = replace(make("softmax", 0), inputs={"i": words_of(row, formats.scores(P), P)},
                   outputs={"o": words_of([255] * len(row), formats.beat(8, P), P)})
    last = 2 * words - 1 + Softmax.found(HW) + Softmax.POWER
    assert pysim.run(case, PATTERN, 0) == last
    factor = 3 * (1 << 26 if 255 * len(row) >= 4096 else 1 << 22)
    total = 255 * len(row)
    multiplier = min(65535, (factor + total // 2) // total)
    code = 3 if total >= 4096 else 2
    both = replace(case, outputs=case.outputs | {"normalizer": [multiplier | code << 16]})
    assert pysim.run(both, PATTERN, 0) == last + Softmax.division(HW)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_layer_norm(rows: int) -> None:
    case, words = make("layer_norm", 0), 24 // P
    assert pysim.run(first_rows(case, rows), PATTERN, 0) == (
        3 * words - 2 + LayerNorm.latency(HW) + (rows - 1) * max(2 * words, LayerNorm.SCALAR + 1))


@pytest.mark.parametrize("blocks", [1, 3])
def test_corner_turn(blocks: int) -> None:
    words, rng = 3, np.random.default_rng(0)
    rows = rng.integers(-128, 128, (blocks * P, words * P))
    given = [word for number, row in enumerate(rows) for word in words_of(
        row.tolist(), formats.tokens(P), P, flush=number == blocks * P - 1)]
    made = [word for block in rows.reshape(blocks, P, -1) for dim in block.T
            for word in words_of(dim.tolist(), formats.beat(formats.signed(8), P), P)]
    layout = formats.beat(formats.signed(8), P)
    last = 1 << (layout.size - 1)
    made = [word if number % (words * P) == words * P - 1 else word & ~last
            for number, word in enumerate(made)]
    case = Case("corner_turn", lambda: CornerTurn(HW), {"i": given}, {"o": made}, {"words": words})
    assert pysim.run(case, PATTERN, 0) == len(given) + CornerTurn.LATENCY + words * P - 1


@pytest.mark.parametrize("tokens", [1, 3, 12])
def test_gate(tokens: int) -> None:
    """The first token's way through, then the interval of the slowest step."""
    case, experts, k = make("gate", 0), 7, 3
    words, n = -(-2 * experts // P), Gate.steps(experts)
    first = words - 1 + Gate.FETCHED + n + n + Gate.LATENCY + k + 1
    interval = max(words, n + 1, 1 + max(n, k))
    assert pysim.run(first_rows(case, tokens), PATTERN, 0) == first + (tokens - 1) * interval


def test_gate_loses_no_route_to_a_sink_that_stops() -> None:
    """It takes tokens until its routes have no more room, and all come out afterwards."""
    case = make("gate", 0)
    given, wanted, dut = list(case.inputs["i"]), case.outputs["o"], Gate(HW)

    async def bench(ctx):
        got = []
        for name, value in case.controls.items():
            ctx.set(control(dut, name), value)
        for cycle in range(2500):
            ctx.set(dut.i.valid, bool(given))
            if given:
                put(ctx, dut.i.payload, given[0])
            ctx.set(dut.o.ready, cycle >= 1000)
            if cycle == 999:
                assert given, "more tokens than it can route were taken"
            if given and ctx.get(dut.i.ready):
                given.pop(0)
            if cycle >= 1000 and ctx.get(dut.o.valid):
                got.append(get(ctx, dut.o.payload))
            await ctx.tick()
        assert got == wanted

    simulate(dut, bench)


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
