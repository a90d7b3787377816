"""Units that compute without streams, against the golden models."""

import numpy as np
import torch

from golden.gate import exponential as gate_exponential
from golden.gate import top_k_experts
from golden.layer_norm import reciprocal_root
from golden.linear import linear
from golden.requantize import round_shift, saturate
from golden.softmax import softmax
from rtl.arith.rsqrt import Rsqrt
from rtl.attention.exponential import Exponential
from rtl.config import PRESETS
from rtl.formats import EVENT
from rtl.linear.lane_group import LaneGroup, Lanes
from rtl.moe.gate_exponential import GateExponential
from rtl.moe.top_k import TopK
from rtl.normalize_lane import NormalizeLane
from tests.support.bench import get, put, simulate
from tests.support.case import pack

HW = PRESETS["nano"]


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.int64)


def test_exponential_at_every_distance() -> None:
    distances = [*range(1024), 1500, 40000, 65535]
    expected = [int(softmax(tensor([32767, 32767 - d]))[0][1]) for d in distances]
    dut = Exponential()

    async def bench(ctx):
        for distance, e in zip(distances, expected, strict=True):
            ctx.set(dut.distance, distance)
            assert ctx.get(dut.e) == e, distance

    simulate(dut, bench, clocked=False)
    assert len(set(expected)) > 150


def test_rsqrt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [1, 2, 3, 4, (1 << 52) - 1, 1 << 30, (1 << 30) - 1, 1 << 31, (1 << 32) - 1]
    values += [int(2 ** rng.uniform(0, 52)) for _ in range(60)]
    m, half = reciprocal_root(tensor(values))
    dut = Rsqrt()

    async def bench(ctx):
        for number, value in enumerate(values):
            ctx.set(dut.value, value)
            await ctx.tick().repeat(Rsqrt.LATENCY)
            assert ctx.get(dut.multiplier) == int(m[number]), value
            assert ctx.get(dut.half_exponent) == int(half[number]), value

    simulate(dut, bench)


def test_gate_exponential(seed: int) -> None:
    rng = np.random.default_rng(seed)
    highest = 20000
    logits = [highest - int(d) for d in [*range(0, 5200, 7), 0, 256, 255, *rng.integers(
        0, 40000, 50)]]
    expected = gate_exponential(tensor([highest - logit for logit in logits])).tolist()
    dut = GateExponential(33)
    got = []

    async def bench(ctx):
        ctx.set(dut.multiplier, 1 << 14)
        for number, logit in enumerate([highest, *logits, 0, 0, 0]):
            ctx.set(dut.valid, number <= len(logits))
            ctx.set(dut.leads, number == 0)
            ctx.set(dut.logit, logit)
            *_, done, power = await ctx.tick().sample(dut.done, dut.power)
            if done:
                got.append(power)

    simulate(dut, bench)
    assert got == expected
    assert 0 in got
    assert 32767 in got


def test_top_k(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = TopK(4, 33)

    async def bench(ctx):
        for draw in range(40):
            count = int(rng.integers(1, 9))
            values = rng.integers(-3, 4, count) if draw % 2 else rng.integers(
                -(1 << 32), 1 << 32, count)
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for index, value in enumerate(values):
                ctx.set(dut.enable, 1)
                ctx.set(dut.value, int(value))
                ctx.set(dut.index, index)
                await ctx.tick()
            ctx.set(dut.enable, 0)
            kept = min(count, 4)
            expected = top_k_experts(tensor(values), kept).tolist()
            assert [ctx.get(index) for index in dut.indices][:kept] == expected, values

    simulate(dut, bench)


def test_normalize_lane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases, inner = [], 0
    for _ in range(120):
        dim, shift = 192, int(rng.integers(0, 16))
        x, total = int(rng.integers(-32768, 32768)), int(rng.integers(-(1 << 20), 1 << 20))
        m, half = int(rng.integers(20000, 65536)), int(rng.integers(8, 25))
        gain, bias = int(rng.integers(-32768, 32768)), int(rng.integers(-(1 << 31), 1 << 31))
        z = round_shift(tensor((dim * x - total) * m), 4 + half)
        if not -(1 << 19) <= int(z) < 1 << 19:
            continue
        y = saturate(round_shift(z * gain + bias, shift + 12), 8)
        inner += abs(int(y)) < 127
        cases.append((dim, x, total, m, half, gain, bias, shift, int(y)))
    assert inner > 0.2 * len(cases)
    dut = NormalizeLane()

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        for dim, x, total, m, half, gain, bias, shift, y in cases:
            for port, value in ((dut.dim, dim), (dut.x, x), (dut.sum, total), (dut.multiplier, m),
                                (dut.half_exponent, half), (dut.gain, gain), (dut.bias, bias),
                                (dut.gain_shift, shift)):
                ctx.set(port, value)
            await ctx.tick().repeat(NormalizeLane.LATENCY)
            assert ctx.get(dut.y) == y

    simulate(dut, bench)


def test_lane_group_sums_both_queues_and_banks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (6, HW.lanes))
    values = rng.integers(-128, 128, (6, HW.lanes))
    rows = rng.integers(-255, 256, (HW.queues, 2, 6))
    dut = LaneGroup(HW)

    async def bench(ctx):
        for row in range(6):
            put(ctx, dut.weight_write, pack(dut.weight_write.shape(), {
                "en": 1, "row": row, "data": weights[row].tolist()}))
            await ctx.tick()
        put(ctx, dut.weight_write, 0)
        for row in range(6):
            for half in range(2):
                put(ctx, dut.kv_write, pack(dut.kv_write.shape(), {
                    "en": 1 << half, "row": row,
                    "data": values[row, half * HW.word :][: HW.word].tolist()}))
                await ctx.tick()
        put(ctx, dut.kv_write, 0)
        for bank in range(2):
            for row in range(6):
                for queue in range(HW.queues):
                    ctx.set(dut.valid[queue], 1)
                    put(ctx, dut.event[queue], pack(EVENT, {
                        "delta": int(rows[queue, bank, row]), "row": row, "kv": bank,
                        "first": row == 0, "bank": bank}))
                await ctx.tick()
        for queue in range(HW.queues):
            ctx.set(dut.valid[queue], 0)
        await ctx.tick().repeat(3)
        for queue in range(HW.queues):
            for bank, memory in enumerate((weights, values)):
                expected = linear(tensor(rows[queue, bank][None]), tensor(memory.T))[0].tolist()
                for half in range(2):
                    ctx.set(dut.queue, queue)
                    ctx.set(dut.bank, bank)
                    ctx.set(dut.half, half)
                    await ctx.tick()
                    got = [ctx.get(dut.acc[n]) for n in range(HW.word)]
                    assert got == expected[half * HW.word :][: HW.word]

    simulate(dut, bench)


def test_lanes_hold_their_sums_without_events() -> None:
    dut = Lanes(HW)

    async def bench(ctx):
        put(ctx, dut.weights, 0x0101010101010101)
        ctx.set(dut.valid, 1)
        put(ctx, dut.event, pack(EVENT, {"delta": 7, "first": 1}))
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(9)
        assert [get(ctx, dut.acc[0][n]) for n in range(HW.lanes)] == [7] * HW.lanes
        assert [get(ctx, dut.acc[1][n]) for n in range(HW.lanes)] == [0] * HW.lanes

    simulate(dut, bench)
