"""Cycles of the gate, and that it loses nothing."""

import pytest

from deltamoe.rtl.moe.gate import Gate
from tests.support import pysim
from tests.support.bench import get, put, simulate
from tests.support.case import control
from tests.support.cases import HW, P, first_rows, make

PATTERN = "full_rate"


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
    inputs, wanted, dut = list(case.inputs["i"]), case.outputs["o"], Gate(HW)

    async def bench(ctx):
        got = []
        for name, value in case.controls.items():
            ctx.set(control(dut, name), value)
        for cycle in range(2500):
            ctx.set(dut.i.valid, bool(inputs))
            if inputs:
                put(ctx, dut.i.payload, inputs[0])
            ctx.set(dut.o.ready, cycle >= 1000)
            if cycle == 999:
                assert inputs, "more tokens than it can route were taken"
            if inputs and ctx.get(dut.i.ready):
                inputs.pop(0)
            if cycle >= 1000 and ctx.get(dut.o.valid):
                got.append(get(ctx, dut.o.payload))
            await ctx.tick()
        assert got == wanted

    simulate(dut, bench)
