"""One layer alone, in Verilog: golden's results, and the simulator's cycles."""

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.boards.verilator import engine
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.numerics import SCORE, SHIFTS
from deltamoe.rtl.compiler.one_layer import compile_layer
from deltamoe.rtl.program import ErrorCode, Linear, Mode
from deltamoe.sim.facts import Facts
from deltamoe.sim.machine import simulate

HW = PRESETS["nano"]


@pytest.mark.verilator
@pytest.mark.parametrize("mode", [Mode.DENSE, Mode.ZERO_SKIP])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(5, 16, 24), (3, 8, 20)])
def test_layer(rows: int, depth: int, columns: int, mode: Mode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (columns, depth)).astype(np.int8)
    bias, multiplier = rng.integers(-5000, 5000, columns), rng.integers(1, 1 << 15, columns)
    x = np.where(rng.random((rows, depth)) < 0.5, rng.integers(-128, 128, (rows, depth)), 0)
    program = compile_layer(Linear(rows=rows, mode=mode, operand_signed=True, shift=1), weight, HW,
                            bias=bias, multiplier=multiplier, name="fc")
    image = x.astype(np.int8).view(np.uint8).reshape(-1)
    result = engine.run(program, program.with_bytes(np.pad(image, (0, -len(image) % HW.bus_bytes))))
    assert result.error == ErrorCode.NONE
    total = linear(torch.tensor(x), torch.tensor(weight), torch.tensor(bias))
    expected = requantize(total, torch.tensor(multiplier), SHIFTS[1], SCORE)
    assert np.array_equal(program.stored(result.memory).reshape(rows, columns), expected)
    assert dict(simulate(program, Facts({}, {"fc": x})).counters) == result.counters


@pytest.mark.parametrize(("rows", "depth", "columns", "said"), [
    (HW.max_tokens + 1, 8, 4, f"rows={HW.max_tokens + 1} exceeds nano's maximum {HW.max_tokens}"),
    (1, HW.max_depth + 4, 4, f"depth={HW.max_depth + 4} exceeds nano's maximum {HW.max_depth}"),
    (32, 8, 132, f"residual words={32 * 132 // HW.word} exceeds nano's maximum ")])
def test_a_layer_that_does_not_fit_is_refused(rows: int, depth: int, columns: int,
                                              said: str) -> None:
    weight = np.zeros((columns, depth), np.int8)
    with pytest.raises(ValueError, match=f"^layer: {said}"):
        compile_layer(Linear(rows=rows), weight, HW)
