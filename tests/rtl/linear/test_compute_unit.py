"""Lane groups together: gangs, splits, words that come together."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.golden.arithmetic.linear import linear
from deltamoe.rtl import formats
from deltamoe.rtl.linear.compute_unit import ComputeUnit
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, TOGETHER, P, tensor

PLACES = [(gang, split) for gang in range(len(HW.gangs)) for split in range(P.bit_length())
          if HW.gangs[gang] << split in HW.gangs]


async def load(ctx, dut: ComputeUnit, weights: np.ndarray, first: int = 0) -> None:
    """Write weights (groups, rows, lanes) to the groups from ``first`` on."""
    for group, rows in enumerate(weights.tolist(), first):
        for address, row in enumerate(rows):
            drive(ctx, dut.weights, en=1, address=address, groups=1 << group, data=row)
            await ctx.tick()
    drive(ctx, dut.weights)


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
        await load(ctx, dut, weights)
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


@pytest.mark.parametrize("gang", range(len(HW.gangs)))
def test_the_word_behind_those_of_a_gang_is_the_last_key_s(gang: int) -> None:
    """Its first element is the score that is taken as the item is released, all else is 0."""
    hw = replace(HW, last_key=True)
    dut, words = ComputeUnit(hw), 2 * hw.gangs[gang]

    async def bench(ctx):
        ctx.set(dut.sums.groups, (1 << hw.groups) - 1)
        ctx.set(dut.sums.gang, gang)
        ctx.set(dut.last_keys.valid, 1)
        found = []
        for score in (5, -70000):
            ctx.set(dut.last_keys.payload, score)
            for word, release in ((words, 0), (words - 1, 1), (words, 1)):
                ctx.set(dut.sums.word, word)
                ctx.set(dut.sums.release, release)
                await ctx.tick()
                assert ctx.get(dut.last_keys.ready) == (release and word == words)
            ctx.set(dut.sums.release, 0)
            ctx.set(dut.sums.word, 0)
            await ctx.tick().repeat(ComputeUnit.READ_LATENCY - 1)
            found.append([ctx.get(dut.sums.acc[n]) for n in range(P)])
            assert not ctx.get(dut.last_keys.ready)
        assert found == [[5] + [0] * (P - 1), [-70000] + [0] * (P - 1)]

    simulate(dut, bench)


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("split", [2, 3])
def test_groups_take_one_of_the_words_that_come_together(split: int, wide: int, seed: int) -> None:
    """Part ``q * r + b`` has the ``q``-th elements of the ``b``-th word; else all words are one."""
    rng, hw, reads, p = np.random.default_rng(seed), TOGETHER, 3, TOGETHER.word
    parts, size = 1 << split, hw.read_words if wide else 1
    part = size * p >> split
    weights = rng.integers(-127, 128, (parts, reads * part, hw.lanes))
    deltas = rng.integers(-255, 256, (reads, hw.read_words, p))
    if not wide:
        deltas[:] = deltas[:, :1]
    sent = rng.random(deltas.shape) < 0.6
    sent = sent if wide else sent[:, :1].repeat(hw.read_words, 1)
    leader = hw.groups - parts
    where = {"leader": leader, "span": hw.gangs.index(parts), "gang": 0, "split": split}
    dut = ComputeUnit(hw)

    async def bench(ctx):
        await load(ctx, dut, weights, leader)
        ctx.set(dut.queues.accept, 1 << leader)
        ctx.set(dut.queues.span, where["span"])
        for read in range(reads):
            words = [{"delta": deltas[read, n].tolist(),
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
        terms = (deltas * sent)[:, :size].reshape(reads, size, parts // size, part)
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
