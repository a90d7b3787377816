"""Assemblies of units: normalization, probabilities, compute unit, drain, writeback, sequencer."""

import numpy as np
import torch

from golden.layer_norm import layer_norm
from golden.linear import linear
from golden.requantize import requantize
from golden.softmax import normalizer, softmax
from rtl import formats
from rtl.attention.probabilities import Probabilities
from rtl.config import PRESETS
from rtl.linear.compute_unit import ComputeUnit
from rtl.linear.drain import WIDTHS, Drain
from rtl.linear.requantize import BITS
from rtl.normalization import Normalization
from rtl.program import DESCRIPTOR, Dest, ErrorCode, Opcode, Target
from rtl.sequencer import Sequencer
from rtl.writeback import Writeback
from sim.operators import norm_rows
from tests.support.bench import get, put, simulate
from tests.support.case import pack
from tests.support.cases import words_of

HW = PRESETS["nano"]
P = HW.word


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.int64)


def test_normalization_is_ready_when_the_simulator_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, dim, base = 4, 12, 6
    words = dim // P
    x, gain = rng.integers(-4000, 4000, (rows, dim)), rng.integers(-900, 900, dim)
    bias = rng.integers(-(1 << 18), 1 << 18, dim)
    expected = layer_norm(tensor(x), tensor(gain), tensor(bias), gain_shift=5, epsilon=9)
    dut, ready, count = Normalization(HW), [], 0

    async def bench(ctx):
        nonlocal count
        for word in range(words):
            put(ctx, dut.write, pack(dut.write.shape(), {"en": 1, "address": 2 + word, "data": [
                {"bias": int(bias[word * P + n]), "multiplier": int(gain[word * P + n]) & 0xFFFF}
                for n in range(P)]}))
            await ctx.tick()
        put(ctx, dut.write, 0)
        put(ctx, dut.descriptor, pack(DESCRIPTOR, {
            "norm": 1, "rows": rows, "dim": dim, "norm_source": base, "norm_base": 2,
            "epsilon": 9, "gain_shift": 5}))
        for cycle in range(150):
            ctx.set(dut.start, cycle == 0)
            address, enable = ctx.get(dut.address), ctx.get(dut.enable)
            count += ctx.get(dut.wrote)
            while len(ready) < ctx.get(dut.rows):
                ready.append(cycle)
            await ctx.tick()
            if enable and base <= address < base + rows * words:
                for n in range(P):
                    ctx.set(dut.residual[n], int(x.reshape(-1, P)[address - base, n]))
        for word in range(rows * words):
            ctx.set(dut.read_address, word)
            await ctx.tick()
            got = [(ctx.get(dut.read_data[n]) + 128) % 256 - 128 for n in range(P)]
            assert got == expected.reshape(-1, P)[word].tolist()

    simulate(dut, bench)
    assert ready == [norm_rows(0, rows, words)(row) for row in range(rows)]
    assert count == rows * words


def test_probabilities_keep_the_last_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, tokens = HW.attention_lag + 1, 7
    rows = rng.integers(-500, 500, (slots + 2, tokens))
    kappa22, kappa26 = 2 << 22, 2 << 26
    dut = Probabilities(HW)

    async def bench(ctx):
        put(ctx, dut.descriptor, pack(DESCRIPTOR, {"kappa22": kappa22, "kappa26": kappa26}))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        freed = 0
        for number, row in enumerate(rows):
            for word in words_of(row.tolist(), formats.scores(P), P):
                put(ctx, dut.i.payload, word)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            for _ in range(60):
                freed += ctx.get(dut.freed)
                await ctx.tick()
            assert (ctx.get(dut.rows), freed) == (number + 1, number + 1)
        for number in range(2, slots + 2):
            e, total = softmax(tensor(rows[number]))
            multiplier, shift = normalizer(total, kappa22, kappa26)
            slot = number % slots
            ctx.set(dut.slot, slot)
            assert ctx.get(dut.normalizer.multiplier) == int(multiplier)
            assert 14 + 4 * ctx.get(dut.normalizer.shift) == int(shift)
            got = []
            for word in range(-(-tokens // P)):
                ctx.set(dut.read_address, slot * HW.row_words + word)
                await ctx.tick()
                got += [ctx.get(dut.read_data[n]) for n in range(P)]
            assert got == e.tolist() + [0] * (len(got) - tokens)

    simulate(dut, bench)


def test_compute_unit_gangs_its_groups(seed: int) -> None:
    """With a gang of two, one item of one worker fills the columns of both groups."""
    rng = np.random.default_rng(seed)
    depth = 2 * P
    weights = rng.integers(-127, 128, (HW.groups, depth, HW.lanes))
    for index, gang in enumerate(HW.gangs):
        dut = ComputeUnit(HW)
        operand = rng.integers(-255, 256, depth)

        async def bench(ctx, dut=dut, gang=gang, index=index, operand=operand):
            ctx.set(dut.gang, index)
            for group in range(HW.groups):
                for row in range(depth):
                    put(ctx, dut.weight_write, pack(dut.weight_write.shape(), {
                        "en": 1, "row": row, "data": weights[group, row].tolist()}))
                    ctx.set(dut.weight_groups, 1 << group)
                    await ctx.tick()
            put(ctx, dut.weight_write, 0)
            worker = (HW.groups - gang) * HW.queues + 1
            ctx.set(dut.worker, worker)
            ctx.set(dut.accept, 1 << worker)
            for word in range(2):
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": operand[word * P :][:P].tolist(), "mask": (1 << P) - 1,
                    "row": word * P, "last": word}))
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                ctx.set(dut.accept, 0)
            ctx.set(dut.i.valid, 0)
            assert ctx.get(dut.waiting[worker]) == 1
            while not ctx.get(dut.complete):
                await ctx.tick()
            assert ctx.get(dut.complete) == 1 << worker
            ctx.set(dut.select, worker)
            for word in range(2 * gang):
                ctx.set(dut.word, word)
                await ctx.tick().repeat(ComputeUnit.READ_LATENCY)
                memory = weights[HW.groups - gang + word // 2][:, word % 2 * P :][:, :P]
                expected = linear(tensor(operand[None]), tensor(memory.T))[0].tolist()
                assert [ctx.get(dut.acc[n]) for n in range(P)] == expected

        simulate(dut, bench)


def test_drain_keeps_issue_order_and_its_credits() -> None:
    """The oldest item first even if a younger is complete; a third score row waits."""
    dut, layout = Drain(HW), formats.drained(HW)

    async def bench(ctx):
        records = [{"worker": n, "words": 2, "count": 3, "dest": Dest.SCORES, "address": 10 * n,
                    "param": 20 + n, "slot": n, "first": 1, "last": 1} for n in range(3)]
        for record in records:
            put(ctx, dut.i.payload, pack(layout, record))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.complete, 0b110)
        await ctx.tick().repeat(3)
        assert (ctx.get(dut.busy), ctx.get(dut.starved)) == (0, 1)
        ctx.set(dut.complete, 0b111)
        seen, made = [], []
        for _ in range(12):
            if ctx.get(dut.busy):
                seen.append((ctx.get(dut.select), ctx.get(dut.word), ctx.get(dut.release)))
            await ctx.tick()
            if ctx.get(dut.o.valid):
                tag = dut.o.p.tag
                made.append((ctx.get(tag.address), ctx.get(tag.count), ctx.get(dut.o.p.width)))
        assert seen == [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 1)]
        assert made == [(0, P, WIDTHS[Dest.SCORES]), (1, 3, WIDTHS[Dest.SCORES]),
                        (10, P, WIDTHS[Dest.SCORES]), (11, 3, WIDTHS[Dest.SCORES])]
        assert (ctx.get(dut.busy), ctx.get(dut.credit)) == (0, 1)
        ctx.set(dut.row_freed, 1)
        await ctx.tick()
        ctx.set(dut.row_freed, 0)
        assert (ctx.get(dut.busy), ctx.get(dut.select)) == (1, 2)

    simulate(dut, bench)


def test_writeback_sends_words_where_they_belong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = Writeback(HW)
    acc = rng.integers(-3000, 3000, P)
    expected = requantize(tensor(acc), tensor(900), shift=14, width=8).tolist()

    async def bench(ctx):
        put(ctx, dut.descriptor, pack(DESCRIPTOR, {"columns": P, "head_words": 1, "rows": 1}))
        for dest in (Dest.ACT, Dest.RESIDUAL, Dest.VALUE, Dest.SCORES):
            width = next(w for w, bits in BITS.items() if bits == 8)
            put(ctx, dut.i.payload, pack(formats.scaled(HW), {
                "acc": acc.tolist(), "bias": [0] * P, "multiplier": [900] * P, "width": width,
                "tag": {"dest": dest, "address": 40 + dest, "count": P, "first": 1, "last": 1,
                        "final": 1}}))
            ctx.set(dut.i.valid, 1)
            seen, finished = {}, None
            for cycle in range(Writeback.DONE + 2):
                for name, enable, data in (
                        (Dest.ACT, dut.act.en, dut.act.data),
                        (Dest.RESIDUAL, dut.residual.valid, dut.residual.p.data),
                        (Dest.VALUE, dut.kv.en, dut.kv.data),
                        (Dest.SCORES, dut.scores.valid, dut.scores.p.data)):
                    if ctx.get(enable):
                        seen[name] = cycle, [ctx.get(data[n]) for n in range(P)]
                if ctx.get(dut.finished):
                    finished = cycle
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
            wanted = [value % 256 for value in expected] if dest == Dest.ACT else expected
            assert seen == {dest: (Writeback.LATENCY, wanted)}
            assert finished == Writeback.DONE

    simulate(dut, bench)


def test_sequencer_runs_a_program_and_refuses_a_second_start() -> None:
    program = [{"opcode": Opcode.LOAD, "target": Target.RESIDUAL, "beats": 1},
               {"opcode": Opcode.LINEAR, "rows": 1, "depth": 1, "columns": P, "passes": 1,
                "wait_loads": 1}, {"opcode": Opcode.HALT}]
    dut = Sequencer(HW)

    async def bench(ctx):
        ctx.set(dut.length, len(program))
        ctx.set(dut.memory_size, 64)
        ctx.set(dut.compute_rows, 1)
        ctx.set(dut.load_command.ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert ctx.get(dut.load_program)
        for index, fields in enumerate(program):
            put(ctx, dut.code, pack(dut.code.shape(), {"en": 1, "address": index})
                | pack(DESCRIPTOR, fields) << 17)
            ctx.set(dut.load_finished, index == 2)
            await ctx.tick()
        put(ctx, dut.code, 0)
        order, moving = [], False
        for _ in range(80):
            ctx.set(dut.load_finished, moving)
            moving = ctx.get(dut.load_started) and not ctx.get(dut.load_program)
            order += ["load"] * moving + ["compute"] * ctx.get(dut.compute_started)
            order += ["finished"] * ctx.get(dut.finished)
            ctx.set(dut.compute_finished, bool(order) and order[-1] == "compute")
            await ctx.tick()
        assert order == ["load", "compute", "finished"]
        assert (ctx.get(dut.busy), ctx.get(dut.error)) == (0, ErrorCode.NONE)
        ctx.set(dut.length, 0)
        ctx.set(dut.start, 1)
        assert ctx.get(dut.failed)
        await ctx.tick()
        assert (get(ctx, dut.error), ctx.get(dut.busy)) == (ErrorCode.LENGTH, 0)

    simulate(dut, bench)
