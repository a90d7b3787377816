"""Keys and values on their way into the weight memories."""

import numpy as np
import pytest

from deltamoe.rtl import formats
from deltamoe.rtl.attention.kv_writer import KvWriter
from deltamoe.rtl.program import Linear
from tests.support.bench import put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import HW, P

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
