"""Assemblies of units: normalization, probabilities, compute unit, drain, writeback, sequencer."""

from collections import deque

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.layer_norm import layer_norm
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.arithmetic.softmax import normalizer, softmax
from deltamoe.golden.numerics import ACTIVATION
from deltamoe.rtl import formats
from deltamoe.rtl.attention.kv_writer import KvWriter
from deltamoe.rtl.attention.probabilities import Probabilities
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.cycles import Divider, Residual
from deltamoe.rtl.formats import RESULTS
from deltamoe.rtl.linear.compute_unit import ComputeUnit
from deltamoe.rtl.linear.drain import MADE, Drain
from deltamoe.rtl.norm.normalization import Normalization
from deltamoe.rtl.program import Attention, Dest, Linear
from deltamoe.rtl.writeback.writeback import Writeback
from deltamoe.sim.units.normalization import rows_normalized
from tests.support.bench import drive, put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import TOGETHER, words_of

HW = PRESETS["nano"]
P = HW.word


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.int64)


@pytest.mark.parametrize("adds", [[], [(4, 5), (12, 12), (14, 14), (60, 75)]])
@pytest.mark.parametrize("there", [[0] * 7, [0, 5, 60, 61, 61, 61, 63], [40] * 7])
def test_normalization_is_ready_when_the_simulator_says(
        there: list[int], adds: list[tuple[int, int]], seed: int) -> None:
    """Rows may be there from the start or come later; others may use the port."""
    rng = np.random.default_rng(seed)
    rows, dim, base = len(there), 12, 6
    words = dim // P
    x, gain = rng.integers(-4000, 4000, (rows, dim)), rng.integers(-900, 900, dim)
    bias = rng.integers(-(1 << 18), 1 << 18, dim)
    expected = layer_norm(tensor(x), tensor(gain), tensor(bias), gain_shift=5, epsilon=9)
    dut, ready, count = Normalization(HW), [], 0
    asked = deque([-1] * Residual.READ, maxlen=Residual.READ)

    async def bench(ctx):
        nonlocal count
        for word in range(words):
            drive(ctx, dut.parameters, en=1, address=2 + word, data=[
                {"bias": int(bias[word * P + n]), "multiplier": int(gain[word * P + n]) & 0xFFFF}
                for n in range(P)])
            await ctx.tick()
        drive(ctx, dut.parameters)
        put(ctx, dut.operator.descriptor, encoded(Linear(
            norm=True, rows=rows, dim=dim, norm_source=base, norm_base=2, epsilon=9,
            gain_shift=5)))
        for cycle in range(250):
            ctx.set(dut.available, sum(cycle >= time for time in there))
            ctx.set(dut.operator.start, cycle == 0)
            granted = not any(first <= cycle <= last for first, last in adds)
            ctx.set(dut.residual.granted, granted)
            asked.append(ctx.get(dut.residual.address) - base if granted else -1)
            count += ctx.get(dut.counts.norm_words)
            while len(ready) < ctx.get(dut.rows):
                ready.append(cycle)
            await ctx.tick()
            inside = 0 <= asked[0] < rows * words
            for n in range(P):
                ctx.set(dut.residual.data[n],
                        int(x.reshape(-1, P)[asked[0], n]) if inside else 12345)
        for word in range(rows * words):
            ctx.set(dut.read.address, word)
            await ctx.tick()
            got = [(ctx.get(dut.read.data[n]) + 128) % 256 - 128 for n in range(P)]
            assert got == expected.reshape(-1, P)[word].tolist()

    simulate(dut, bench)
    assert ready == rows_normalized(HW, 0, rows, words, there.__getitem__, adds)
    assert count == rows * words


def test_probabilities_keep_the_last_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, tokens = HW.attention_lag + 1, 7
    rows = rng.integers(-500, 500, (slots + 2, tokens))
    kappa22, kappa26 = 2 << 22, 2 << 26
    dut = Probabilities(HW)

    async def bench(ctx):
        put(ctx, dut.operator.descriptor, encoded(Attention(kappa22=kappa22, kappa26=kappa26)))
        ctx.set(dut.operator.start, 1)
        await ctx.tick()
        ctx.set(dut.operator.start, 0)
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
            ctx.set(dut.normalizers.address, slot)
            assert ctx.get(dut.normalizers.data.multiplier) == int(multiplier)
            assert 14 + 4 * ctx.get(dut.normalizers.data.shift) == int(shift)
            got = []
            for word in range(-(-tokens // P)):
                ctx.set(dut.read.address, slot * HW.row_words + word)
                await ctx.tick()
                got += [ctx.get(dut.read.data[n]) for n in range(P)]
            assert got == e.tolist() + [0] * (len(got) - tokens)

    simulate(dut, bench)


def test_a_row_counts_when_its_division_begins() -> None:
    """The next operator may begin before the last normalizer is there, which keeps its slot."""
    dut, row, kappa = Probabilities(HW), [3, -90, 40], 1 << 22
    multipliers = [int(normalizer(softmax(tensor(row))[1], kappa * scale, 1 << 30)[0])
                   for scale in (1, 1, 3)]

    async def bench(ctx):
        async def start(kappa22: int) -> None:
            put(ctx, dut.operator.descriptor, encoded(Attention(kappa22=kappa22,
                                                                kappa26=1 << 30)))
            ctx.set(dut.operator.start, 1)
            await ctx.tick()
            ctx.set(dut.operator.start, 0)

        async def enter() -> None:
            put(ctx, dut.i.payload, words_of(row, formats.scores(P), P)[0])
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)

        def multiplier(slot: int) -> int:
            ctx.set(dut.normalizers.address, slot)
            return ctx.get(dut.normalizers.data.multiplier)

        await start(kappa)
        for _ in range(2):
            await enter()
        while not ctx.get(dut.freed):
            await ctx.tick()
        await ctx.tick().repeat(Softmax.summed(HW) + 1)
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (1, 0, 0)
        await ctx.tick()
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (2, 0, 0)
        await start(3 * kappa)
        await ctx.tick().repeat(Divider.LATENCY)
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (0, *multipliers[:2])
        await enter()
        await ctx.tick().repeat(60)
        assert (ctx.get(dut.rows), multiplier(0), multiplier(1)) == (
            1, multipliers[2], multipliers[1])

    simulate(dut, bench)


PLACES = [(gang, split) for gang in range(len(HW.gangs)) for split in range(P.bit_length())
          if HW.gangs[gang] << split in HW.gangs]


@pytest.mark.parametrize(("gang", "split"), PLACES)
def test_compute_unit_gangs_and_splits(gang: int, split: int, seed: int) -> None:
    """An item fills the columns of a gang; every part of its sum comes from another gang."""
    rng = np.random.default_rng(seed)
    words, size = 3, HW.gangs[gang]
    part, rows = P >> split, 3 * P >> split
    weights = rng.integers(-127, 128, (HW.groups, rows, HW.lanes))
    operand = rng.integers(-255, 256, words * P)
    leader = HW.groups - (size << split)
    where = {"leader": leader, "span": HW.gangs.index(size << split), "gang": gang, "split": split}
    dut = ComputeUnit(HW)

    async def bench(ctx):
        for group in range(HW.groups):
            for row in range(rows):
                drive(ctx, dut.weights, en=1, address=row, groups=1 << group,
                      data=weights[group, row].tolist())
                await ctx.tick()
        drive(ctx, dut.weights)
        ctx.set(dut.queues.accept, 1 << leader)
        ctx.set(dut.queues.span, where["span"])
        for word in range(words):
            put(ctx, dut.next_place, pack(formats.destination(HW), where))
            await ctx.tick()
            ctx.set(dut.queues.accept, 0)
            put(ctx, dut.next_place, 0)
            put(ctx, dut.i.payload, pack(formats.broadcast(HW), {"word": {
                "delta": operand[word * P :][:P].tolist(), "mask": (1 << P) - 1,
                "row": word * part, "last": word == words - 1}}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
        assert [ctx.get(waiting) for waiting in dut.queues.waiting] == [0] * leader + [1] * (
            HW.groups - leader)
        ctx.set(dut.sums.groups, ((1 << HW.groups - leader) - 1) << leader)
        ctx.set(dut.sums.gang, gang)
        while not ctx.get(dut.sums.summed) & 1:
            await ctx.tick()
        await ctx.tick()
        for word in range(2 * size):
            ctx.set(dut.sums.word, word)
            await ctx.tick().repeat(ComputeUnit.READ_LATENCY)
            expected = 0
            for number in range(1 << split):
                group = leader + number * size + word // 2
                memory = weights[group][:, word % 2 * P :][:, :P]
                mine = operand.reshape(words, 1 << split, part)[:, number].reshape(-1)
                expected = expected + linear(tensor(mine[None]), tensor(memory.T))[0]
            assert [ctx.get(dut.sums.acc[n]) for n in range(P)] == expected.tolist()

    simulate(dut, bench)


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("split", [2, 3])
def test_groups_take_one_of_the_words_that_come_together(split: int, wide: int, seed: int) -> None:
    """Part ``q * r + b`` has the ``q``-th elements of the ``b``-th word; else all words are one."""
    rng, hw, reads, p = np.random.default_rng(seed), TOGETHER, 3, TOGETHER.word
    parts, size = 1 << split, hw.read_words if wide else 1
    part = size * p >> split
    weights = rng.integers(-127, 128, (parts, reads * part, hw.lanes))
    given = rng.integers(-255, 256, (reads, hw.read_words, p))
    if not wide:
        given[:] = given[:, :1]
    sent = rng.random(given.shape) < 0.6
    sent = sent if wide else sent[:, :1].repeat(hw.read_words, 1)
    leader = hw.groups - parts
    where = {"leader": leader, "span": hw.gangs.index(parts), "gang": 0, "split": split}
    dut = ComputeUnit(hw)

    async def bench(ctx):
        for group in range(parts):
            for row in range(reads * part):
                drive(ctx, dut.weights, en=1, address=row, groups=1 << leader + group,
                      data=weights[group, row].tolist())
                await ctx.tick()
        drive(ctx, dut.weights)
        ctx.set(dut.queues.accept, 1 << leader)
        ctx.set(dut.queues.span, where["span"])
        for read in range(reads):
            words = [{"delta": given[read, n].tolist(),
                      "mask": sum(int(bit) << k for k, bit in enumerate(sent[read, n]))}
                     for n in range(hw.read_words)]
            put(ctx, dut.next_place, pack(formats.destination(hw), {"wide": wide, **where}))
            await ctx.tick()
            ctx.set(dut.queues.accept, 0)
            put(ctx, dut.next_place, 0)
            put(ctx, dut.i.payload, pack(formats.broadcast(hw), {
                "word": words[0] | {"row": read * part, "last": read == reads - 1},
                "beside": words[1:], "wide": wide}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
        ctx.set(dut.sums.groups, ((1 << parts) - 1) << leader)
        while not ctx.get(dut.sums.summed) & 1:
            await ctx.tick()
        await ctx.tick()
        terms = (given * sent)[:, :size].reshape(reads, size, parts // size, part)
        for word in range(2):
            ctx.set(dut.sums.word, word)
            await ctx.tick().repeat(ComputeUnit.READ_LATENCY)
            expected = 0
            for q in range(parts // size):
                for b in range(size):
                    mine = terms[:, b, q].reshape(-1)
                    memory = weights[q * size + b][:, word * p :][:, :p]
                    expected = expected + linear(tensor(mine[None]), tensor(memory.T))[0]
            assert [ctx.get(dut.sums.acc[n]) for n in range(p)] == expected.tolist()

    simulate(dut, bench)


def test_drain_keeps_issue_order_and_its_credits() -> None:
    """Only the active operator, only when complete; a row more than the softmax holds waits."""
    dut, layout = Drain(HW), formats.drained(HW)
    rows = Softmax.ROWS + 1

    async def bench(ctx):
        for n in range(rows):
            drive(ctx, dut.parameters, en=1, address=20 + n, data=[
                {"bias": 9 - 7 * (n + 2 * channel), "multiplier": 300 * n + channel}
                for channel in range(P)])
            await ctx.tick()
        drive(ctx, dut.parameters)
        for n in range(rows):
            put(ctx, dut.i.payload, pack(layout, {
                "leader": n % HW.groups, "op": 6, "words": 2, "count": 3, "dest": Dest.SCORES,
                "address": 10 * n, "param": 20 + n, "slot": n % 2, "shift": 1, "first": 1,
                "last": 1}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.sums.summed, 3)
        ctx.set(dut.op, 6)
        await ctx.tick().repeat(Drain.VISIBLE)
        assert not ctx.get(dut.counts.drain_busy), "nothing drains yet"
        ctx.set(dut.active, 1)
        ctx.set(dut.op, 5)
        await ctx.tick().repeat(Drain.START)
        assert not ctx.get(dut.counts.drain_busy), "another operator drains"
        ctx.set(dut.op, 6)
        ctx.set(dut.sums.summed, 2)
        await ctx.tick().repeat(Drain.START)
        assert (ctx.get(dut.counts.drain_busy), ctx.get(dut.counts.drain_starved)) == (0, 1)
        assert ctx.get(dut.sums.next_groups) == 2
        ctx.set(dut.sums.summed, 3)
        await ctx.tick()
        seen, made, scales = [], [], []
        for _ in range(2 * rows + Drain.latency(HW)):
            if ctx.get(dut.counts.drain_busy):
                seen.append((ctx.get(dut.sums.groups), ctx.get(dut.sums.word),
                             ctx.get(dut.sums.release)))
            await ctx.tick()
            if ctx.get(dut.o.valid):
                tag = dut.o.p.tag
                made.append((ctx.get(tag.address), ctx.get(tag.count), ctx.get(dut.o.p.width),
                             ctx.get(dut.o.p.shift)))
                scales.append([(ctx.get(dut.o.p.bias[n]), ctx.get(dut.o.p.multiplier[n]))
                               for n in range(P)])
        width = RESULTS.index(MADE[Dest.SCORES])
        assert seen == [(1 << n % HW.groups, word, word) for n in range(rows - 1)
                        for word in range(2)]
        assert made == [(10 * n + word, 3 if word else P, width, 1) for n in range(rows - 1)
                        for word in range(2)]
        assert scales == [[(9 - 7 * (n + 2 * channel), 300 * n + channel) for channel in range(P)]
                          for n in range(rows - 1) for _ in range(2)]
        assert (ctx.get(dut.counts.drain_busy), ctx.get(dut.counts.drain_credit)) == (0, 1)
        ctx.set(dut.row_freed, 1)
        await ctx.tick()
        ctx.set(dut.row_freed, 0)
        assert ctx.get(dut.counts.drain_busy)
        assert ctx.get(dut.sums.groups) == 1 << (rows - 1) % HW.groups

    simulate(dut, bench)


def test_drain_asks_for_the_item_behind() -> None:
    """The second bit of ``summed`` counts in the cycle of a release alone."""
    dut, layout = Drain(HW), formats.drained(HW)

    async def bench(ctx):
        ctx.set(dut.op, 6)
        ctx.set(dut.active, 1)
        for n in range(3):
            put(ctx, dut.i.payload, pack(layout, {"leader": n, "op": 6, "words": 1, "count": 1}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        seen = []
        for summed in (2, 1, 1, 1, 2, 1, 1):
            seen.append((ctx.get(dut.sums.groups), ctx.get(dut.sums.release),
                         ctx.get(dut.counts.drain_starved)))
            ctx.set(dut.sums.summed, summed)
            await ctx.tick()
        assert seen == [(1, 0, 1), (1, 0, 1), (1, 1, 0), (2, 0, 1), (2, 1, 0), (4, 1, 0), (0, 0, 0)]

    simulate(dut, bench)


def test_writeback_sends_words_where_they_belong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = Writeback(HW)
    acc = rng.integers(-3000, 3000, P)
    expected = requantize(tensor(acc), tensor(900), 14, ACTIVATION).tolist()

    async def bench(ctx):
        put(ctx, dut.draining.operator.descriptor, encoded(Linear(columns=P, head_words=1, rows=1)))
        for dest in (Dest.ACT, Dest.RESIDUAL, Dest.VALUE, Dest.SCORES):
            width = RESULTS.index(ACTIVATION)
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
                if ctx.get(dut.draining.written):
                    finished = cycle, ctx.get(dut.draining.row_written)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
            wanted = [value % 256 for value in expected] if dest == Dest.ACT else expected
            reached = Writeback.LATENCY + (KvWriter.LATENCY if dest == Dest.VALUE else 0)
            assert seen == {dest: (reached, wanted)}
            assert finished == (Writeback.DONE, dest != Dest.SCORES)

    simulate(dut, bench)
