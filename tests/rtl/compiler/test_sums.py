"""How wide sums may become: what the compiler refuses, and what the hardware computes there."""

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
import torch
from amaranth import signed

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.attention import attention
from deltamoe.golden.arithmetic.gate import gate
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.library import find
from deltamoe.golden.model import build
from deltamoe.golden.numerics import PLANE, SCORE
from deltamoe.golden.quantization.quantize import quantize
from deltamoe.golden.quantization.quantized import QuantizedModel
from deltamoe.golden.seeded import seeded
from deltamoe.rtl.compiler import sums
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.matrices import Matrices
from deltamoe.rtl.compiler.placement import place, sets_of
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.formats import beat, route
from deltamoe.rtl.moe.gate import Gate
from deltamoe.rtl.program import Attention, Dest, Linear, Mode, Source
from tests.support.bench import simulate
from tests.support.case import Case, pack
from tests.support.datapath import (
    load_image,
    load_parameters,
    load_weights,
    read_residual,
    run,
    write,
)
from tests.support.pysim import run as run_case

NARROW = replace(PRESETS["nano"], name="narrow", acc_width=18, groups=2, banks=2, max_top_k=2)
LARGEST, DEPTH = (1 << 17) - 1, 2 * NARROW.lanes
DIGITS = find("digits").quantized


def test_range_is_that_of_all_operands_and_all_parts_of_a_sum(seed: int) -> None:
    """Against every choice of extreme operands, or none, in three products, and the bias last."""
    rng = np.random.default_rng(seed)
    for low, high in ((-128, 127), (0, 255), (-255, 255), (-7, 248)):
        weight = rng.integers(-127, 128, (4, 3))
        operands = np.array(list(product((low, 0, high), repeat=3)))
        results = operands @ weight.T
        for least, most in ((-50_000, 50_000), (-50_000, 0), (0, 50_000)):
            bias = rng.integers(least, most, 4)
            assert sums.products(weight, low, high, bias) == (
                min(results.min(), (results + bias).min()),
                max(results.max(), (results + bias).max()))


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

    def compile(self, more: int = 0) -> None:
        """Compile it alone, with a bias of so much more."""
        Matrices(NARROW).bound(
            "fc", self.row[None].astype(np.int8), np.array([self.bias + more]),
            Linear(mode=self.mode, operand_signed=self.signed, zero_point=self.zero_point,
                   dest=Dest.OUTPUT))


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
    given.compile()
    with pytest.raises(ValueError, match=r"^fc: sums reach .* needs acc_width=19; narrow has "
                                         r"acc_width=18$"):
        given.compile(1 if given.limit > 0 else -1)


def test_sums_at_the_bound_are_exact() -> None:
    """The accumulators, which assert that they do not overflow, and the bias behind them."""
    compute(*EXTREMES)


def compute(*layers: Extreme) -> None:
    """Compare the last frame of each with golden."""
    dut, placed = Datapath(NARROW), place(DEPTH, NARROW.word, NARROW)
    layer = Linear(source=Source.ACT, dest=Dest.OUTPUT, rows=1, depth=DEPTH, columns=NARROW.word,
                   source_stride=DEPTH // NARROW.word, **placed.fields(NARROW))

    async def bench(ctx):
        for extreme in layers:
            weight = np.tile(extreme.row, (NARROW.word, 1)).astype(np.int8)
            await load_weights(ctx, dut, weight, placed)
            await load_parameters(ctx, dut, np.full(NARROW.word, extreme.bias), 1 << 12)
            delta = extreme.mode == Mode.DELTA
            kept = {"state_base": 5, "reference_base": 7} if delta else {}
            for number, a in enumerate(extreme.frames):
                await load_image(ctx, dut, a)
                await run(ctx, dut, replace(
                    layer, mode=extreme.mode, operand_signed=extreme.signed,
                    zero_point=extreme.zero_point, fresh=delta and number == 0, **kept))
                sent = a - (extreme.zero_point if extreme.mode == Mode.ZERO_SKIP else 0)
                total = extreme.bias + linear(torch.tensor(sent[None]),
                                              torch.tensor(extreme.row[None]))
                expected = requantize(total, 1 << 12, 14, SCORE)
                assert await read_residual(ctx, dut, NARROW, 0) == [int(expected)] * NARROW.word
            assert int(total) == extreme.limit, extreme

    simulate(dut, bench)


def test_differences_are_bounded_by_themselves() -> None:
    """Magnitudes of 515: operands make 65,920, but the second frame's events 131,325 of 131,071."""
    row = weights(most=255 * 515, operand=255)
    extreme = Extreme(Mode.DELTA, True, 0, row, [np.where(row > 0, *ends)
                                                 for ends in ((-128, 127), (127, -128))], 0, 0)
    with pytest.raises(ValueError, match=r"^fc: sums reach -131325..131325, which needs "):
        extreme.compile()
    with pytest.raises(AssertionError, match="kept sum overflow"):
        compute(extreme)


@pytest.mark.parametrize(("tokens", "dim", "bits"), [(4, 8, 18), (5, 8, 19), (4, 12, 19)])
def test_attention_at_and_beyond_the_bound(tokens: int, dim: int, bits: int) -> None:
    """128 * 127 * 8 and 255 * 127 * 4 are the last that fit 18 bits; what is refused overflows."""
    assert sums.attention(tokens, dim).bits == bits
    if bits == 18:
        attend(tokens, dim)
    else:
        with pytest.raises(AssertionError, match="accumulator overflow"):
            attend(tokens, dim)


def attend(tokens: int, dim: int) -> None:
    """Compare attention with golden where scores and sums of values are as large as can be."""
    dut, hw, scale = Datapath(NARROW), NARROW, 1 << 12
    q, k = np.zeros((2, tokens, dim), np.int64)
    q[0], k[0], k[1:] = -128, -127, 127               # its scores are the most and the least
    v = np.tile([127, -127, 127, -127], (tokens, dim // 4))
    v[1:, 2:4] *= -1                                  # the others sum up equally weighted values
    kappa = 1 << 22, 1 << 26
    out, e = attention(*map(torch.tensor, (q, k, v)), torch.tensor([scale]), 14, *kappa)
    scores, values = linear(torch.tensor(q), torch.tensor(k)), e[0] @ torch.tensor(v)
    assert (scores.max(), scores.min()) == (127 * 128 * dim, -127 * 128 * dim)
    assert (values.max(), values.min()) == (255 * 127 * tokens, -255 * 127 * tokens)
    placed, words = place(dim, dim, hw), dim // hw.word
    heads = sets_of(1, tokens, dim, hw)
    key_rows, _ = heads.rows(tokens, dim, hw)
    rows = {"rows": tokens, "source_stride": words, "dest_stride": words, "heads": 1,
            "head_words": words, "set_size": hw.gangs.index(hw.groups // heads.sets),
            **heads.key_fields}
    assert heads.key_fields == heads.value_fields
    copied = Linear(mode=Mode.DENSE, source=Source.ACT, depth=dim, columns=dim,
                    operand_signed=True, **rows, **placed.fields(hw))
    context = 3 * tokens * words

    async def bench(ctx):
        await load_weights(ctx, dut, np.eye(dim, dtype=np.int8), placed)
        await load_parameters(ctx, dut, np.zeros(2 * dim), 1 << 14)
        await load_image(ctx, dut, np.stack([k, v, q]).reshape(-1, hw.lanes))
        await write(ctx, dut.loads.parameter, address=2 * words,
                    data=[{"bias": 0, "multiplier": scale}] * hw.word)
        for operator in (
                replace(copied, dest=Dest.KEY, key_gap=key_rows - dim),
                replace(copied, dest=Dest.VALUE, source_base=tokens * words, dest_base=key_rows),
                Attention(mode=Mode.DENSE, head_dim=dim, param_base=2 * words,
                          value_base=key_rows, dest_base=context,
                          source_base=2 * tokens * words, kappa22=kappa[0], kappa26=kappa[1],
                          **rows),
                replace(copied, dest=Dest.OUTPUT, source_base=context)):
            await run(ctx, dut, operator)
        got = [await read_residual(ctx, dut, hw, address) for address in range(tokens * words)]
        assert np.array_equal(np.reshape(got, (tokens, dim)), out)

    simulate(dut, bench)


@pytest.mark.parametrize(("high", "low", "fits"), [
    (LARGEST, 255, True), (-LARGEST - 1, 0, True), (LARGEST, 256, False),
    (-LARGEST - 1, -1, False)])
def test_gate_at_and_beyond_the_bound(high: int, low: int, fits: bool) -> None:
    """The logit of 26 bits decides as in golden; of one more, the other expert wins."""
    planes = torch.tensor([[high, low, 0, 0]])
    logits = 256 * planes[:, 0::2] + planes[:, 1::2]
    assert (sums.Range(min(int(logits.min()), 0), max(int(logits.max()), 0)).bits
            <= NARROW.acc_width + PLANE) == fits
    chosen, weight = gate(logits, 1 << 12, 14, 1)
    winner = int(chosen) if fits else 1 - int(chosen)
    out = pack(route(NARROW), {"expert": winner, "weight": int(weight), "last": 1})
    word = pack(beat(signed(NARROW.acc_width), NARROW.word),
                {"data": planes[0].tolist(), "last": 1})
    run_case(Case("gate", lambda: Gate(NARROW), {"i": [word]}, {"o": [out]},
                  {"settings__num_experts": 2, "settings__top_k": 1,
                   "settings__multiplier": 1 << 12, "settings__shift": 0}),
             "full_rate", 0)


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


def test_compiler_refuses_values_that_need_more() -> None:
    """17 tokens: 17 exponentials of 255 times values of 127."""
    hw = PRESETS["nano"]
    compile_program(DIGITS, replace(hw, acc_width=21))
    with pytest.raises(ValueError, match=r"^blocks.0.attention: sums reach -550545..550545, which "
                                         r"needs acc_width=21; nano has acc_width=20$"):
        compile_program(DIGITS, replace(hw, acc_width=20))


def test_compiler_refuses_scores_that_need_more() -> None:
    """5 tokens and one head of 32 columns: queries of -128 times keys of 127."""
    config = replace(DIGITS.config, name="one", patch_size=4, num_heads=1, num_layers=1)
    images = torch.arange(4 * 64).view(4, 1, 8, 8).to(torch.uint8)
    quantized, hw = quantize(build(config, seeded(config, 0)), images), PRESETS["nano"]
    model = QuantizedModel(config, {      # the layers need less
        name: tensor // 2 if name.endswith(".weight") else tensor
        for name, tensor in quantized.tensors.items()})
    compile_program(model, replace(hw, acc_width=20))
    with pytest.raises(ValueError, match=r"^blocks.0.attention: sums reach -520192..520192, which "
                                         r"needs acc_width=20; nano has acc_width=19$"):
        compile_program(model, replace(hw, acc_width=19))


def test_compiler_refuses_gates_whose_logits_need_more() -> None:
    """Both planes fit 18 bits; the logit must fit 26: 128 * (256 * 1023 + 256) is the last."""
    layers = Matrices(NARROW)
    planes = np.stack([np.full(32, 32), np.full(32, 8)]).astype(np.int8)
    planes[0, 0] -= 1
    gate = "blocks.1.gate.0", planes, None, Linear(operand_signed=True, dest=Dest.GATE)
    assert sums.products(planes, *sums.SIGNED) == (-128 * 1023, 127 * 1023)
    layers.bound(*gate)
    planes[1, 0] += 1
    with pytest.raises(ValueError, match=r"^blocks.1.gate.0: sums reach -33554560.* needs "
                                         r"acc_width=19;"):
        layers.bound(*gate)
