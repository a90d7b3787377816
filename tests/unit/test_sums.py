"""How wide sums may become: what the compiler refuses, and what the hardware computes there."""

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import torch

from golden.library import find
from golden.linear import linear
from golden.quantized import QuantizedModel
from golden.requantize import requantize
from rtl import sums
from rtl.compiler import DENSE, compile_program
from rtl.config import PRESETS
from rtl.datapath import Datapath
from rtl.descriptor import DESCRIPTOR
from rtl.layers import Layers
from rtl.placement import place
from rtl.program import Dest, Mode, Opcode, Source, unpack
from rtl.program import pack as encode
from tests.support.bench import simulate
from tests.support.case import pack
from tests.support.datapath import (
    load_image,
    load_parameters,
    load_weights,
    read_residual,
    run,
)

NARROW = replace(PRESETS["nano"], name="narrow", acc_width=18, groups=2, banks=2, max_top_k=2)
LARGEST, DEPTH = (1 << 17) - 1, 2 * NARROW.lanes
DIGITS = find("digits").quantized


def test_range_is_that_of_all_operands_and_all_parts_of_a_sum(seed: int) -> None:
    """Against every choice of extreme operands, or none, in three products, and the bias last."""
    rng = np.random.default_rng(seed)
    for low, high in ((-128, 127), (0, 255), (-255, 255), (-7, 248)):
        weight = rng.integers(-127, 128, (4, 3))
        bias = rng.integers(-50_000, 50_000, 4)
        operands = np.array(list(product((low, 0, high), repeat=3)))
        made = operands @ weight.T
        found = sums.products(weight, low, high, bias)
        assert found == (min(made.min(), (made + bias).min()), max(made.max(), (made + bias).max()))


@pytest.mark.parametrize(("low", "high", "bits"), [
    (0, 0, 1), (-1, 0, 1), (0, 1, 2), (-2, 1, 2), (-3, 1, 3), (-(1 << 17), LARGEST, 18),
    (-(1 << 17) - 1, 0, 19), (0, 1 << 17, 19)])
def test_bits_of_a_range(low: int, high: int, bits: int) -> None:
    assert sums.Range(low, high).bits == bits


def weights(*, most: int, operand: int) -> np.ndarray:
    """Return one row of weights whose sum of magnitudes times ``operand`` is nearly ``most``."""
    total = most // operand
    row = np.full(DEPTH, total // DEPTH)
    row[: total % DEPTH] += 1
    row[1::3] *= -1
    return row


class Extreme(NamedTuple):
    """A layer of equal columns and the frames after which its sum is the last that fits."""

    mode: Mode
    signed: bool
    zero_point: int
    row: np.ndarray
    frames: list[np.ndarray]
    bias: int
    limit: int

    def range(self, more: int = 0) -> sums.Range:
        """Return the range of its sums if the bias were so much more."""
        return sums.layer(self.row[None], np.array([self.bias + more]), self.mode,
                          operand_signed=self.signed, zero_point=self.zero_point)


def extreme(mode: Mode, *, signed: bool, zero_point: int, sign: int) -> Extreme:
    """Return a layer whose sums reach the largest or, by ``sign``, the least integer of 18 bits."""
    low, high = sums.SIGNED if signed else sums.UNSIGNED
    row = sign * weights(most=LARGEST, operand=128 if signed and mode != Mode.DELTA else 255)
    frames = [np.where(sign * row > 0, *ends) for ends in ((low, high), (high, low))]
    limit = LARGEST if sign > 0 else -LARGEST - 1
    reference = zero_point if mode == Mode.ZERO_SKIP else 0
    return Extreme(mode, signed, zero_point, row, frames if mode == Mode.DELTA else frames[1:],
                   limit - int(row @ (frames[1] - reference)), limit)


EXTREMES = [extreme(mode, signed=signed, zero_point=zero_point, sign=sign) for sign in (1, -1)
            for mode, signed, zero_point in (
                (Mode.DENSE, True, 0), (Mode.DENSE, False, 0), (Mode.ZERO_SKIP, False, 17),
                (Mode.DELTA, True, 0))]


@pytest.mark.parametrize("given", EXTREMES, ids=lambda given: f"{given.mode.name}{given.limit}")
def test_one_more_than_the_bound_is_refused(given: Extreme) -> None:
    found = given.range()
    assert found.bits == 18
    assert given.limit in found
    sums.check("fc", found, NARROW)
    with pytest.raises(ValueError, match=r"^fc: sums reach .* needs acc_width=19; narrow has "
                                         r"acc_width=18$"):
        sums.check("fc", given.range(1 if given.limit > 0 else -1), NARROW)


def test_sums_at_the_bound_are_exact() -> None:
    """The accumulators, which assert that they do not overflow, and the bias behind them."""
    dut, placed = Datapath(NARROW), place(DEPTH, NARROW.word, NARROW)
    fields = {"opcode": Opcode.LINEAR, "source": Source.ACT, "dest": Dest.OUTPUT, "rows": 1,
              "depth": DEPTH, "columns": NARROW.word, "source_stride": DEPTH // NARROW.word,
              **placed.fields(NARROW)}

    async def bench(ctx):
        for given in EXTREMES:
            weight = np.tile(given.row, (NARROW.word, 1)).astype(np.int8)
            await load_weights(ctx, dut, weight, placed)
            await load_parameters(ctx, dut, np.full(NARROW.word, given.bias), 1 << 12)
            kept = {"state_base": 5, "reference_base": 7} if given.mode == Mode.DELTA else {}
            for number, a in enumerate(given.frames):
                await load_image(ctx, dut, a)
                await run(ctx, dut, pack(DESCRIPTOR, unpack(encode({
                    **fields, **kept, "mode": given.mode, "operand_signed": given.signed,
                    "zero_point": given.zero_point,
                    **({"fresh": int(number == 0)} if kept else {})}))))
                sent = a - (given.zero_point if given.mode == Mode.ZERO_SKIP else 0)
                total = linear(torch.tensor(sent[None]), torch.tensor(given.row[None])) + given.bias
                expected = requantize(total, 1 << 12, shift=14, width=16)
                assert await read_residual(ctx, dut, NARROW, 0) == [int(expected)] * NARROW.word
            assert int(total) == given.limit, given

    simulate(dut, bench)


LAYERS = ("patch", "blocks.0.q", "blocks.0.k", "blocks.0.v", "blocks.0.proj", "blocks.0.fc1",
          "blocks.0.fc2", "blocks.1.experts.fc1", "blocks.1.experts.fc2", "head.0")


def changed(**tensors: torch.Tensor) -> QuantizedModel:
    return QuantizedModel(DIGITS.config, {**DIGITS.tensors, **tensors})


@pytest.mark.parametrize("name", LAYERS)
def test_compiler_refuses_a_layer_whose_sums_need_more(name: str) -> None:
    """The bias that just fits 22 bits, and one more."""
    weight, bias = (DIGITS[f"{name}.{part}"].clone() for part in ("weight", "bias"))
    low, high = sums.UNSIGNED if "fc2" in name else sums.SIGNED
    row = weight.reshape(-1, weight.shape[-1])[-1].long()
    most = int((row.clamp(min=0) * high + row.clamp(max=0) * low).sum())
    hw = replace(PRESETS["nano"], acc_width=22)
    for more in (0, 1):
        bias.view(-1)[-1] = (1 << 21) - 1 - most + more
        model = changed(**{f"{name}.bias": bias})
        if more:
            said = name.replace("experts", "experts.3")
            with pytest.raises(ValueError, match=f"^{said}: .* needs acc_width=23; nano has "):
                compile_program(model, hw)
        else:
            compile_program(model, hw)


def test_compiler_refuses_attention_that_needs_more() -> None:
    """17 tokens: 17 exponentials of 255 times values of 127."""
    hw = PRESETS["nano"]
    compile_program(DIGITS, replace(hw, acc_width=21))
    with pytest.raises(ValueError, match=r"^blocks.0.attention: sums reach -550545..550545, which "
                                         r"needs acc_width=21; nano has acc_width=20$"):
        compile_program(DIGITS, replace(hw, acc_width=20))


def test_compiler_refuses_gates_whose_logits_need_more() -> None:
    """Both planes fit 18 bits; the logit ``256 * high + low`` must fit 26."""
    layers = Layers(DIGITS, NARROW, 0, DENSE)
    high = np.full(32, 32)
    high[0] -= 1
    for low, fits in ((0 * high, True), (high, False)):
        planes = np.stack([high, low]).astype(np.int8)
        assert sums.products(planes, *sums.SIGNED) == (-128 * 1023, 127 * 1023)
        given = "blocks.1.gate.0", planes, None, {"mode": Mode.DENSE, "dest": Dest.GATE}
        if fits:
            layers.bound(*given)
        else:
            with pytest.raises(ValueError, match=r"^blocks.1.gate.0: .* needs acc_width=19;"):
                layers.bound(*given)
