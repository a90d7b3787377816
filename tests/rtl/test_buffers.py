"""Units that store and move: activations, residual stream, queues, keys and values, bursts."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.moe import routed_tokens
from deltamoe.golden.arithmetic.residual import residual_add
from deltamoe.rtl import formats
from deltamoe.rtl.attention.kv_writer import KvWriter
from deltamoe.rtl.config import HwConfig, lower_half
from deltamoe.rtl.linear.event_queue import EventQueue
from deltamoe.rtl.memory.activations import Activations
from deltamoe.rtl.memory.bursts import BURST, Bursts
from deltamoe.rtl.memory.halves import Halves
from deltamoe.rtl.memory.row_reader import RowReader
from deltamoe.rtl.moe.dispatch import Dispatch
from deltamoe.rtl.program import Dest, Linear
from deltamoe.rtl.writeback.residual import Residual
from deltamoe.sim.units.bursts import bursts
from tests.support import pysim
from tests.support.bench import drive, put, simulate
from tests.support.case import PATTERNS, Case, encoded, pack

HW = PRESETS["nano"]
P = HW.word


def test_residual_adds_and_saturates_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut = Residual(HW)
    x = rng.integers(-32768, 32768, (8, P))
    steps = [(Dest.RESIDUAL, rng.integers(-(1 << 23), 1 << 23, (8, P))),
             (Dest.RESIDUAL, rng.integers(-9000, 9000, (8, P))),
             (Dest.COMBINE, rng.integers(-(1 << 17), 1 << 17, (8, P))),
             (Dest.COMBINE, rng.integers(-(1 << 17), 1 << 17, (8, P))),
             (Dest.RESIDUAL, rng.integers(-20000, 20000, (8, P)))]
    expected = torch.tensor(x)
    for _, y in steps[:2]:
        expected = residual_add(expected, torch.tensor(y))
    expected = residual_add(expected, torch.tensor(steps[2][1] + steps[3][1]))
    expected = residual_add(expected, torch.tensor(steps[4][1]))
    output = rng.integers(-32768, 32768, P)

    async def read(ctx, address: int) -> list[int]:
        ctx.set(dut.read.address, address)
        assert ctx.get(dut.read.granted)
        await ctx.tick()
        ctx.set(dut.read.address, 0)
        await ctx.tick().repeat(Residual.READ - 1)
        return [ctx.get(dut.read.data[n]) for n in range(P)]

    async def bench(ctx):
        for address in range(8):
            drive(ctx, dut.load, en=1, address=address, data=x[address].tolist())
            await ctx.tick()
        drive(ctx, dut.load)
        beyond = np.full((1, P), 1 << 17)
        for first, dest, rows in [*((0, *step) for step in steps), (8, Dest.COMBINE, beyond),
                                  (8, Dest.OUTPUT, output[None])]:
            for address, row in enumerate(rows, first):
                put(ctx, dut.i.payload, pack(formats.requantized(HW), {
                    "data": row.tolist(), "tag": {"dest": dest, "address": address}}))
                ctx.set(dut.i.valid, 1)
                assert not ctx.get(dut.read.granted), "the port reads what is added to"
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(Residual.LATENCY - 1)
        assert await read(ctx, 8) == output.tolist(), "the last word, as early as it may be read"
        for address in range(8):
            assert await read(ctx, address) == expected[address].tolist()

    simulate(dut, bench)
    inside = (expected.abs() < 32767).float().mean()
    assert 0.2 < inside < 1, "the sum saturates always or never"


def test_dispatch_holds_any_routing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dut, tokens, k = Dispatch(HW), HW.max_tokens, 2
    routings = [np.stack([rng.permutation(HW.max_experts)[:k] for _ in range(tokens)]),
                np.tile([3, 0], (tokens, 1))]

    async def bench(ctx):
        for experts in routings:
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            await ctx.tick()
            weights = rng.integers(0, 1 << 16, (tokens, k))
            for token in range(tokens):
                for choice in range(k):
                    put(ctx, dut.i.payload, pack(formats.route(HW), {
                        "expert": int(experts[token, choice]),
                        "weight": int(weights[token, choice]), "last": choice == k - 1}))
                    ctx.set(dut.i.valid, 1)
                    await ctx.tick()
                ctx.set(dut.i.valid, 0)
                if token < tokens - 1:
                    await ctx.tick()
            assert ctx.get(dut.tokens) == tokens
            ctx.set(dut.queues.lengths.address, final := int(experts[-1, -1]))
            ctx.set(dut.read.address, final * HW.max_tokens
                    + ctx.get(dut.queues.lengths.data) - 1)
            await ctx.tick()
            assert ctx.get(dut.read.data.token) == tokens - 1, "read in the cycle after its route"
            for expert in range(HW.max_experts):
                routed = routed_tokens(torch.tensor(experts), expert).tolist()
                ctx.set(dut.queues.lengths.address, expert)
                ctx.set(dut.queues.occupied.address, expert)
                assert ctx.get(dut.queues.lengths.data) == len(routed)
                assert ctx.get(dut.queues.occupied.data) == bool(routed)
                for index, token in enumerate(routed):
                    ctx.set(dut.read.address, expert * HW.max_tokens + index)
                    await ctx.tick()
                    choice = experts[token].tolist().index(expert)
                    assert (ctx.get(dut.read.data.token), ctx.get(dut.read.data.weight)) == (
                        token, weights[token, choice])

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [6, 1030])
def test_halves_keep_parts_of_rows(depth: int, seed: int) -> None:
    """Each half is written and loaded, also both in the same cycle, and reads what came last."""
    rng = np.random.default_rng(seed)
    lower, dut, kept = lower_half(depth), Halves(16, depth, 2), {}
    places = [0, lower - 1, lower, depth - 1]

    async def bench(ctx):
        for turn in range(60):
            first, second = rng.permutation(places)[:2].tolist()
            write, load = (int(value) for value in rng.integers(0, 1 << 16, 2))
            enable, loading = (3, 3) if turn < 20 else rng.integers(0, 4, 2).tolist()
            loads = (first >= lower) != (second >= lower)
            drive(ctx, dut.write, en=enable, address=first, data=write)
            drive(ctx, dut.load, en=loading * loads, address=second, data=load)
            mask, filled = (0xFF * (en & 1) | 0xFF00 * (en >> 1)
                            for en in (enable, loading * loads))
            kept[first] = kept.get(first, 0) & ~mask | write & mask
            kept[second] = kept.get(second, 0) & ~filled | load & filled
            await ctx.tick()
            drive(ctx, dut.write)
            drive(ctx, dut.load)
            for place, value in kept.items():
                ctx.set(dut.read.address, place)
                await ctx.tick()
                assert ctx.get(dut.read.data) == value
                upper = ctx.get(dut.upper)
                assert (upper, ctx.get(dut.halves[upper])) == (place >= lower, value)
        assert len(kept) == len(places)

    simulate(dut, bench)


@pytest.mark.parametrize("hw", [HW, replace(HW, groups=16, read_words=4)], ids=["one", "four"])
def test_activations_hold_words_and_images(hw: HwConfig, seed: int) -> None:
    """Results are words, an image comes in beats of two; a row is read from any word of it."""
    rng = np.random.default_rng(seed)
    dut, half = Activations(hw), hw.act_row * lower_half(hw.act_words // hw.act_row)
    memory = np.zeros((hw.act_words, P), int)
    places = (0, hw.act_row, half - hw.act_row, half, hw.act_words - hw.act_row)

    async def read(ctx, address: int) -> list[int]:
        ctx.set(dut.read.address, address)
        await ctx.tick()
        return [ctx.get(dut.read.data[n]) for n in range(P)]

    async def bench(ctx):
        for place in places:
            for word in range(place, place + hw.act_row, 2):
                memory[word : word + 2] = rng.integers(0, 256, (2, P))
                drive(ctx, dut.load, en=1, address=word // 2, data=int.from_bytes(
                    memory[word : word + 2].astype(np.uint8).tobytes(), "little"))
                await ctx.tick()
        for _ in range(40):
            written = rng.choice(places) + int(rng.integers(hw.act_row))
            loaded = rng.choice([p for p in places if (p < half) != (written < half)])
            memory[written] = rng.integers(0, 256, P)
            memory[loaded : loaded + 2] = rng.integers(0, 256, (2, P))
            drive(ctx, dut.write, en=1, address=int(written), data=memory[written].tolist())
            drive(ctx, dut.load, en=1, address=int(loaded) // 2, data=int.from_bytes(
                memory[loaded : loaded + 2].astype(np.uint8).tobytes(), "little"))
            await ctx.tick()
            drive(ctx, dut.write)
            drive(ctx, dut.load)
            for place in places:
                for word in range(place, place + hw.act_row):
                    assert await read(ctx, word) == memory[word].tolist()
                    if hw.read_words > 1 and word == place:
                        words = dut.read.beside[ctx.get(dut.read.upper)]
                        assert [[ctx.get(words[k][n]) for n in range(P)]
                                for k in range(hw.read_words - 1)] == (
                            memory[word + 1 : word + hw.read_words].tolist())

    simulate(dut, bench)


KV_SHAPES = [(index, spread, split) for index, size in enumerate(HW.gangs)
             for spread in HW.spreads(size) for split in HW.splits
             if spread + split in HW.spreads(size)]


@pytest.mark.parametrize(("set_size", "spread", "split"), KV_SHAPES)
def test_values_and_keys_go_to_their_rows(set_size: int, spread: int, split: int,
                                          seed: int) -> None:
    """Head ``h`` to set ``h % sets``; with more heads than sets they share the rows out.

    Tile ``t`` goes to the groups ``t % 2**spread`` of the set, and of these the element ``e`` of a
    sum to those of part ``e % P // n``, with ``n`` elements of each word in a part.
    """
    rng = np.random.default_rng(seed)
    heads, head_words, tokens, base = 3, 3, 11, 5
    size, n = HW.gangs[set_size], P >> split
    sets, step = HW.groups // size, 1 << spread
    held_together = 1 << spread + split

    def part_rows(elements: int) -> int:
        return -(-elements // P) * n if split else elements

    def element(row: int, part: int) -> int:
        """Return the element of a sum that a row of a part belongs to."""
        return row // n * P + part * n + row % n

    head_dim, dut = head_words * P, KvWriter(HW)
    rows = rng.integers(-128, 128, (tokens, heads * head_dim))
    memory: dict[tuple[int, int, int, int], int] = {}

    async def sample(ctx):
        """Record the write of this cycle."""
        enable, groups = ctx.get(dut.write.en), ctx.get(dut.write.groups)
        number, member = next(
            (n, k) for n in range(sets) for k in range(held_together)
            if groups == sum(1 << g for g in range(n * size + k, (n + 1) * size, held_together)))
        for half in range(2):
            for n in range(P) if enable >> half & 1 else ():
                memory[number, member, ctx.get(dut.write.address), half * P + n] = ctx.get(
                    dut.write.data[n])

    async def bench(ctx):
        put(ctx, dut.descriptor, encoded(Linear(
            rows=tokens, head_words=head_words, set_size=set_size, spread=spread,
            head_split=split)))
        await ctx.tick()
        for token, row in enumerate(rows):
            for word in range(heads * head_words):
                put(ctx, dut.values.payload, pack(formats.requantized(HW), {
                    "data": row[word * P :][:P].tolist(),
                    "tag": {"address": base + token // P * n + token % n + word,
                            "first": word == 0, "weight": token % P // n}}))
                ctx.set(dut.values.valid, 1)
                await ctx.tick()
                await sample(ctx)
        ctx.set(dut.values.valid, 0)
        passes = -(-head_dim // (HW.lanes * step))
        for (number, member, row, lane), value in memory.items():
            done, inside = divmod(row - base, part_rows(tokens))
            held, turn = divmod(done, passes)
            part, tile = divmod(member, step)
            head, tile = held * sets + number, turn * step + tile
            token = element(inside, part)
            assert value == rows[token, head * head_dim + tile * HW.lanes + lane]
        assert len(memory) == rows.size

        memory.clear()
        passes = -(-tokens // (HW.lanes * step))
        put(ctx, dut.key_operator.descriptor, encoded(Linear(
            dest_base=base, head_words=head_words, rows=tokens, set_size=set_size,
            spread=spread, head_split=split, key_gap=(passes - 1) * part_rows(head_dim))))
        ctx.set(dut.key_operator.start, 1)
        await ctx.tick()
        ctx.set(dut.key_operator.start, 0)
        padded = np.pad(rows, ((0, -tokens % P), (0, 0)))
        for block in range(len(padded) // P):
            for dim in range(heads * head_dim):
                last = dim == heads * head_dim - 1
                put(ctx, dut.keys.payload, pack(formats.beat(formats.signed(8), P), {
                    "data": padded[block * P :, dim][:P].tolist(), "last": last}))
                ctx.set(dut.keys.valid, 1)
                await ctx.tick()
                await sample(ctx)
                assert ctx.get(dut.finished) == (last and (block + 1) * P >= tokens)
        for (number, member, row, lane), value in memory.items():
            held, rest = divmod(row - base, passes * part_rows(head_dim))
            head = held * sets + number
            turn, inside = divmod(rest, part_rows(head_dim))
            part, tile = divmod(member, step)
            tile, dim = turn * step + tile, element(inside, part)
            assert value == padded[tile * HW.lanes + lane, head * head_dim + dim]
        assert len(memory) == padded.size

    simulate(dut, bench)


@pytest.mark.parametrize("shared", [True, False])
def test_row_reader(shared: bool) -> None:
    """A port that others use, or not; rows that come late, a sink without room."""
    dut, rows, words, base = RowReader(HW), 3, 4, 7
    asked = deque([99] * Residual.READ, maxlen=Residual.READ)

    async def bench(ctx):
        put(ctx, dut.base, base)
        put(ctx, dut.rows, rows)
        put(ctx, dut.words, words)
        put(ctx, dut.available, 1)
        ctx.set(dut.start, 1)
        got, wait = [], 0
        for cycle in range(90):
            assert len(got) <= words or cycle > 30, "a row was read before it was there"
            assert len(got) <= 2 * words or cycle > 60, "a row was read without room for it"
            if cycle == 30:
                put(ctx, dut.available, rows)
            granted = not shared or cycle % 4 != 3
            ctx.set(dut.read.granted, granted)
            ctx.set(dut.room, len(got) < 2 * words or cycle >= 60)
            asked.append(ctx.get(dut.read.address) if granted else 99)
            if ctx.get(dut.o.valid):
                got.append((ctx.get(dut.o.p.data[0]), ctx.get(dut.o.p.last)))
                wait = wait or cycle
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.read.data[0], asked[0])
        assert got == [(base + n, n % words == words - 1) for n in range(rows * words)]
        assert wait == RowReader.LATENCY

    simulate(dut, bench)


def test_bursts_match_the_simulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given, made = [], []
    for _ in range(25):
        address, beats = HW.bus_bytes * int(rng.integers(0, 2000)), int(rng.integers(1, 700))
        given.append(pack(formats.COMMAND, {"address": address, "beats": beats}))
        lengths = bursts(address, beats, HW)
        for number, length in enumerate(lengths):
            assert address // 4096 == (address + length * HW.bus_bytes - 1) // 4096
            assert 1 <= length <= HW.burst_beats
            made.append(pack(BURST, {"address": address, "beats": length, "single": length == 1,
                                     "last": number == len(lengths) - 1}))
            address += length * HW.bus_bytes
        assert sum(lengths) == beats
    for pattern in PATTERNS:
        pysim.run(Case("bursts", lambda: Bursts(HW), {"i": given}, {"o": made}), pattern, seed)


@pytest.mark.parametrize("depth", [4, 5])
def test_event_queue_holds_its_depth_and_no_more(depth: int) -> None:
    """Filled and emptied several times, so that its ring closes; no word is lost or repeated."""
    dut, rounds = EventQueue(HW, depth), 4

    async def bench(ctx):
        count = 0
        for _ in range(rounds):
            ctx.set(dut.o.ready, 0)
            ctx.set(dut.i.valid, 1)
            taken = []
            for _ in range(depth + 3):
                put(ctx, dut.i.payload, pack(formats.event_word(HW), {
                    "delta": [7] * P, "mask": 1, "row": count, "last": 1}))
                if ctx.get(dut.i.ready):
                    taken.append(count)
                    count += 1
                await ctx.tick()
            assert len(taken) == depth
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.o.ready, 1)
            for row in taken:
                assert ctx.get(dut.o.valid)
                assert ctx.get(dut.o.p.row) == row
                await ctx.tick()
            assert not ctx.get(dut.o.valid)

    simulate(dut, bench)
