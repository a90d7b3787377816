"""Units that compute without streams, against the golden models."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.gate import exponential as gate_exponential
from deltamoe.golden.arithmetic.gate import top_k_experts
from deltamoe.golden.arithmetic.layer_norm import reciprocal_root
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import round_shift, saturate
from deltamoe.golden.arithmetic.softmax import softmax
from deltamoe.golden.numerics import ACTIVATION
from deltamoe.rtl.arith.rsqrt import Rsqrt
from deltamoe.rtl.attention.exponential import Exponential
from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.formats import event
from deltamoe.rtl.linear.lane_group import LaneGroup
from deltamoe.rtl.linear.lanes import Lanes
from deltamoe.rtl.linear.mac_pair import MacPair
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.moe.gate_exponential import GateExponential
from deltamoe.rtl.moe.top_k import TopK
from deltamoe.rtl.norm.normalize_lane import NormalizeLane
from tests.support.bench import drive, put, simulate
from tests.support.case import pack

HW = PRESETS["nano"]


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.int64)


def test_exponential_at_every_distance() -> None:
    distances = [*range(1024), 1500, 40000, 65535]
    expected = [int(softmax(tensor([32767, 32767 - d]))[0][1]) for d in distances]
    dut = Exponential()

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        for distance, e in zip(distances, expected, strict=True):
            ctx.set(dut.distance, distance)
            await ctx.tick()
            assert ctx.get(dut.e) == e, distance
        ctx.set(dut.enable, 0)
        ctx.set(dut.distance, 0)
        await ctx.tick()
        assert ctx.get(dut.e) == expected[-1] != expected[0], "without enable, it moves"

    simulate(dut, bench)
    assert len(set(expected)) > 150


def test_rsqrt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [1, 2, 3, 4, (1 << 52) - 1, 1 << 30, (1 << 30) - 1, 1 << 31, (1 << 32) - 1]
    values += [int(2 ** rng.uniform(0, 52)) for _ in range(60)]
    m, half = reciprocal_root(tensor(values))
    every, _ = reciprocal_root(tensor(np.arange(1 << 16, 1 << 18)) << 14)
    assert every.max() < 65535, "the unit does not saturate"
    dut = Rsqrt()

    async def bench(ctx):
        for number, value in enumerate(values):
            ctx.set(dut.value, value)
            await ctx.tick().repeat(Rsqrt.LATENCY)
            assert ctx.get(dut.reciprocal.multiplier) == int(m[number]), value
            assert ctx.get(dut.reciprocal.half_exponent) == int(half[number]), value

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
        for number, logit in enumerate([highest, *logits, *[0] * GateExponential.LATENCY]):
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
    dut = TopK(4, 33, 3)

    async def bench(ctx):
        for draw in range(40):
            count = int(rng.integers(1, 9))
            values = rng.integers(-3, 4, count) if draw % 2 else rng.integers(
                -(1 << 32), 1 << 32, count)
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for start in range(0, count, 3):
                for lane, index in enumerate(range(start, start + 3)):
                    ctx.set(dut.enable[lane], index < count)
                    ctx.set(dut.value[lane], int(values[min(index, count - 1)]))
                    ctx.set(dut.index[lane], index)
                await ctx.tick()
            for lane in range(3):
                ctx.set(dut.enable[lane], 0)
            kept = min(count, 4)
            expected = top_k_experts(tensor(values), kept).tolist()
            assert [ctx.get(index) for index in dut.indices][:kept] == expected, values
            assert ctx.get(dut.largest) == values.max()

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
        y = saturate(round_shift(z * gain + bias, shift + 12), ACTIVATION)
        inner += abs(int(y)) < 127
        cases.append((dim, x, total, m, half, gain, bias, shift, int(y)))
    assert inner > 0.2 * len(cases)
    dut = NormalizeLane()

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        for dim, x, total, m, half, gain, bias, shift, y in cases:
            drive(ctx, dut.element, x=x, gain=gain, bias=bias)
            drive(ctx, dut.row, dim=dim, sum=total, multiplier=m, half_exponent=half,
                  gain_shift=shift)
            await ctx.tick().repeat(NormalizeLane.LATENCY)
            assert ctx.get(dut.y) == y

    simulate(dut, bench)


@pytest.mark.parametrize("packed", [False, True])
def test_mac_pair_sums_runs(packed: bool, seed: int) -> None:
    """Runs of up to eight, the extremes of both products among them, with and without gaps."""
    rng = np.random.default_rng(seed)
    dut = MacPair(packed=packed)
    runs = [[(255 * s, 127 * a, 127 * b)] * RUN for s in (1, -1) for a in (1, -1) for b in (1, -1)]
    runs += [[(int(rng.integers(-255, 256)), int(rng.integers(-127, 128)),
               int(rng.integers(-127, 128))) for _ in range(rng.integers(1, RUN + 1))]
             for _ in range(60)]

    async def bench(ctx):
        pending = [(*event, n == 0, n == len(run) - 1, run) for run in runs
                   for n, event in enumerate(run)]
        ahead = [None] * 3
        while pending or any(ahead):
            event = pending.pop(0) if pending and rng.random() < 0.8 else None
            ahead = [event, *ahead[:3]]
            now, _, earlier, done = (*ahead, None)[:4]
            ctx.set(dut.w0, now[1] if now else 5)
            ctx.set(dut.w1, now[2] if now else -7)
            ctx.set(dut.delta, now[0] if now else 3)
            ctx.set(dut.begin, earlier[3] if earlier else 1)
            ctx.set(dut.valid, bool(earlier))
            if done and done[4]:
                for port, lane in ((dut.low, 1), (dut.high, 2)):
                    assert ctx.get(port) == sum(part[0] * part[lane] for part in done[5])
            await ctx.tick()

    simulate(dut, bench)


def test_lanes_end_their_runs_in_time() -> None:
    dut = Lanes(HW)

    async def bench(ctx):
        drive(ctx, dut.weights, en=1, address=3, data=list(range(1, HW.word + 1)))
        await ctx.tick()
        drive(ctx, dut.weights)
        for n in range(3):
            put(ctx, dut.i.payload, pack(event(HW), {"delta": 7, "row": 3, "begin": n == 0,
                                                 "flush": n == 2, "bank": 1}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for cycle in range(1, 12):
            assert ctx.get(dut.o.valid) == (cycle == Lanes.LATENCY)
            if ctx.get(dut.o.valid):
                assert ctx.get(dut.o.p.event.bank) == 1
                assert [ctx.get(dut.o.p.sums[n]) for n in range(HW.word)] == [
                    21 * (n + 1) for n in range(HW.word)]
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("hw", [HW, replace(HW, packed=True)], ids=["plain", "packed"])
def test_lane_group_sums_every_bank(hw, seed: int) -> None:
    """Items of 3 to 19 events, weights and values in turns; each bank as soon as it may be read."""
    rng = np.random.default_rng(seed)
    depth = 19
    memories = [rng.integers(-127, 128, (depth, hw.lanes)) for _ in range(2)]
    lengths = [3, 8, 10, depth][: hw.banks]
    rows = [rng.integers(-255, 256, length) for length in lengths]
    dut = LaneGroup(hw)

    async def bench(ctx):
        for row in range(depth):
            drive(ctx, dut.weights, en=1, address=row, data=memories[0][row].tolist())
            for half in range(2):
                drive(ctx, dut.kv, en=1 << half, address=row,
                    data=memories[1][row, half * hw.word :][: hw.word].tolist())
                await ctx.tick()
        drive(ctx, dut.weights)
        drive(ctx, dut.kv)
        for bank, deltas in enumerate(rows):
            for row, delta in enumerate(deltas):
                flush = row % RUN == RUN - 1 or row == len(deltas) - 1
                put(ctx, dut.i.payload, pack(event(hw), {
                    "delta": int(delta), "row": row, "kv": bank % 2, "begin": row % RUN == 0,
                    "flush": flush, "fresh": row < RUN, "bank": bank}))
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(Worker.LATENCY - 1)
        for half in range(2):
            for bank, deltas in reversed(list(enumerate(rows))):
                expected = linear(tensor(deltas[None]), tensor(
                    memories[bank % 2][: len(deltas)].T))[0].tolist()
                ctx.set(dut.sums.address, 2 * bank + half)
                got = [~ctx.get(dut.sums.data[n]) for n in range(hw.word)]
                assert got == expected[half * hw.word :][: hw.word], (bank, half)
            await ctx.tick()

    simulate(dut, bench)
