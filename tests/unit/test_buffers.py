"""Units that store and move: residual stream, expert queues, keys and values, rows, bursts."""

import numpy as np
import pytest
import torch

from golden.moe import routed_tokens
from golden.residual import residual_add
from rtl import formats
from rtl.attention.kv_writer import KvWriter
from rtl.config import PRESETS
from rtl.memory.bursts import BURST, Bursts
from rtl.memory.row_reader import RowReader
from rtl.moe.dispatch import Dispatch
from rtl.program import DESCRIPTOR, Dest
from rtl.residual import Residual
from sim.memory import bursts
from tests.support import pysim
from tests.support.bench import put, simulate
from tests.support.case import PATTERNS, Case, pack

HW = PRESETS["nano"]
P = HW.word


def descriptor(**fields: int) -> int:
    return pack(DESCRIPTOR, fields)


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
        ctx.set(dut.address, address)
        ctx.set(dut.enable, 1)
        await ctx.tick()
        return [ctx.get(dut.data[n]) for n in range(P)]

    async def bench(ctx):
        for address in range(8):
            put(ctx, dut.load, pack(dut.load.shape(), {
                "en": 1, "address": address, "data": x[address].tolist()}))
            await ctx.tick()
        put(ctx, dut.load, 0)
        for dest, rows in [*steps, (Dest.OUTPUT, np.tile(output, (9, 1))[8:])]:
            for address, row in enumerate(rows):
                place = 8 if dest == Dest.OUTPUT else address
                put(ctx, dut.i.payload, pack(formats.requantized(HW), {
                    "data": row.tolist(), "tag": {"dest": dest, "address": place}}))
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(Residual.LATENCY)
        for address in range(8):
            assert await read(ctx, address) == expected[address].tolist()
        assert await read(ctx, 8) == output.tolist()

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
            weights = rng.integers(0, 1 << 16, (tokens, k))
            for token in range(tokens):
                for choice in range(k):
                    put(ctx, dut.i.payload, pack(formats.ROUTE, {
                        "expert": int(experts[token, choice]),
                        "weight": int(weights[token, choice]), "last": choice == k - 1}))
                    ctx.set(dut.i.valid, 1)
                    await ctx.tick()
            ctx.set(dut.i.valid, 0)
            assert ctx.get(dut.tokens) == tokens
            for expert in range(HW.max_experts):
                routed = routed_tokens(torch.tensor(experts), expert).tolist()
                ctx.set(dut.expert, expert)
                ctx.set(dut.inspected, expert)
                assert ctx.get(dut.length) == len(routed)
                assert ctx.get(dut.occupied) == bool(routed)
                for index, token in enumerate(routed):
                    ctx.set(dut.index, index)
                    await ctx.tick()
                    choice = experts[token].tolist().index(expert)
                    assert (ctx.get(dut.token), ctx.get(dut.weight)) == (
                        token, weights[token, choice])

    simulate(dut, bench)


@pytest.mark.parametrize("set_size", range(len(HW.gangs)))
def test_values_and_keys_go_to_their_rows(set_size: int, seed: int) -> None:
    """Head ``h`` to set ``h % sets``; with more heads than sets they share the rows out."""
    rng = np.random.default_rng(seed)
    heads, head_words, tokens, base = 3, 3, 11, 5
    size = HW.gangs[set_size]
    sets = HW.groups // size
    head_dim, dut = head_words * P, KvWriter(HW)
    rows = rng.integers(-128, 128, (tokens, heads * head_dim))
    memory: dict[tuple[int, int, int], int] = {}

    async def sample(ctx):
        """Record the write of this cycle."""
        enable, groups = ctx.get(dut.write.en), ctx.get(dut.groups)
        number = next(n for n in range(sets) if groups == ((1 << size) - 1) << n * size)
        for half in range(2):
            for n in range(P) if enable >> half & 1 else ():
                memory[number, ctx.get(dut.write.row), half * P + n] = ctx.get(dut.write.data[n])

    async def bench(ctx):
        put(ctx, dut.descriptor, descriptor(
            dest_stride=tokens, head_words=head_words, set_size=set_size))
        for token, row in enumerate(rows):
            for word in range(heads * head_words):
                put(ctx, dut.values.payload, pack(formats.requantized(HW), {
                    "data": row[word * P :][:P].tolist(),
                    "tag": {"address": base + token + word, "first": word == 0}}))
                ctx.set(dut.values.valid, 1)
                await sample(ctx)
                await ctx.tick()
        ctx.set(dut.values.valid, 0)
        tiles = -(-head_dim // HW.lanes)
        for (number, row, lane), value in memory.items():
            tile, token = divmod(row - base, tokens)
            held, part = divmod(tile, tiles)
            head = held * sets + number
            assert value == rows[token, head * head_dim + part * HW.lanes + lane]
        assert len(memory) == rows.size

        memory.clear()
        tiles = -(-tokens // HW.lanes)
        put(ctx, dut.key_descriptor, descriptor(
            dest_base=base, head_words=head_words, rows=tokens, set_size=set_size,
            dest_stride=(tiles - 1) * head_dim))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        padded = np.pad(rows, ((0, -tokens % P), (0, 0)))
        for block in range(len(padded) // P):
            for dim in range(heads * head_dim):
                last = dim == heads * head_dim - 1
                put(ctx, dut.keys.payload, pack(formats.beat(formats.signed(8), P), {
                    "data": padded[block * P :, dim][:P].tolist(), "last": last}))
                ctx.set(dut.keys.valid, 1)
                await sample(ctx)
                assert ctx.get(dut.finished) == (last and (block + 1) * P >= tokens)
                await ctx.tick()
        for (number, row, lane), value in memory.items():
            held, rest = divmod(row - base, tiles * head_dim)
            head = held * sets + number
            tile, dim = divmod(rest, head_dim)
            assert value == padded[tile * HW.lanes + lane, head * head_dim + dim]
        assert len(memory) == padded.size

    simulate(dut, bench)


def test_row_reader_keeps_its_word_while_stalled() -> None:
    dut, rows, words, base = RowReader(HW), 3, 4, 7

    async def bench(ctx):
        put(ctx, dut.base, base)
        put(ctx, dut.rows, rows)
        put(ctx, dut.words, words)
        put(ctx, dut.available, 1)
        ctx.set(dut.start, 1)
        got, held, wait = [], 0, 0
        for cycle in range(90):
            assert len(got) <= words or cycle > 30, "a row was read before it was there"
            if cycle == 30:
                put(ctx, dut.available, rows)
            ready = cycle % 3 != 1
            ctx.set(dut.o.ready, ready)
            enable, address = ctx.get(dut.enable), ctx.get(dut.address)
            if ctx.get(dut.o.valid) and ready:
                got.append((ctx.get(dut.o.p.data[0]), ctx.get(dut.o.p.last)))
                wait = wait or cycle
            await ctx.tick()
            ctx.set(dut.start, 0)
            held = address if enable else held
            ctx.set(dut.data[0], held)
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
            made.append(pack(BURST, {"address": address, "beats": length,
                                     "last": number == len(lengths) - 1}))
            address += length * HW.bus_bytes
        assert sum(lengths) == beats
    for pattern in PATTERNS:
        pysim.run(Case("bursts", lambda: Bursts(HW), {"i": given}, {"o": made}), pattern, seed)
