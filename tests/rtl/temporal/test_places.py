"""Slots of a token's experts: kept while they stay, given to others when they leave."""

import numpy as np
import pytest

from deltamoe.boards import PRESETS
from deltamoe.rtl.temporal.places import Places
from tests.support.bench import simulate

HW = PRESETS["nano"]


async def place(ctx, dut, rows: np.ndarray) -> list[list[tuple[int, int]]]:
    """Give the experts of one token after the other; return their slots, and if they were known."""
    ctx.set(dut.memory.start, 1)
    await ctx.tick()
    ctx.set(dut.memory.start, 0)
    await ctx.tick().repeat(2)
    places = []
    for row in rows.tolist():
        for rank in range(HW.max_top_k):  # those behind the first few do not count
            ctx.set(dut.token.winners[rank], row[rank] if rank < len(row) else row[0] ^ 1)
        places.append([])
        for rank, expert in enumerate(row):
            ctx.set(dut.token.valid, 1)
            ctx.set(dut.token.expert, expert)
            ctx.set(dut.token.last, rank == len(row) - 1)
            await ctx.tick()
            places[-1].append((ctx.get(dut.token.slot), ctx.get(dut.token.known)))
        ctx.set(dut.token.valid, 0)
        await ctx.tick()
    return places


@pytest.mark.parametrize("k", [1, 2, HW.max_top_k])
def test_experts_keep_their_slots_while_tokens_stay(k: int, seed: int) -> None:
    """Two layers' tokens, frame by frame; some keep all their experts, some in another order."""
    rng = np.random.default_rng(seed)
    dut, tokens = Places(HW), 7
    held: list[list[dict[int, int]]] = [[{} for _ in range(tokens)] for _ in range(2)]
    experts = np.stack([[rng.permutation(HW.max_experts)[:k] for _ in range(tokens)]
                        for _ in range(2)])
    counts = {"known": 0, "left": 0, "moved": 0}

    async def bench(ctx):
        ctx.set(dut.memory.remembers, 1)
        ctx.set(dut.memory.top_k, k)
        for frame in range(12):
            for layer, base in enumerate((0, HW.remembered_tokens - tokens)):
                for token in range(tokens):
                    row = experts[layer, token]
                    if rng.random() < 0.5:
                        outside = [e for e in range(HW.max_experts) if e not in row]
                        row[rng.integers(k)] = rng.choice(outside)
                    rng.shuffle(row)
                ctx.set(dut.memory.base, base)
                ctx.set(dut.memory.fresh, frame == 0)
                got = await place(ctx, dut, experts[layer])
                for token, (row, places) in enumerate(zip(experts[layer], got, strict=True)):
                    before = held[layer][token]
                    slots = [slot for slot, _ in places]
                    assert sorted(slots) == list(range(k))
                    for rank, (expert, (slot, known)) in enumerate(zip(row, places, strict=True)):
                        assert known == (expert in before)
                        assert not known or slot == before[expert]
                        counts["known"] += known
                        counts["moved"] += known and slot != rank
                    counts["left"] += len(before.keys() - set(row.tolist()))
                    held[layer][token] = dict(zip(row.tolist(), slots, strict=True))

    simulate(dut, bench)
    assert counts["known"] > 20
    assert counts["left"] > 20
    assert (counts["moved"] > 20) == (k > 1)


def test_without_memory_a_slot_is_the_rank(seed: int) -> None:
    """Nothing is known, and nothing that others remember is overwritten."""
    rng = np.random.default_rng(seed)
    dut, k = Places(HW), 3
    rows = np.stack([rng.permutation(HW.max_experts)[:k] for _ in range(4)])

    async def bench(ctx):
        ctx.set(dut.memory.top_k, k)
        for remembers, fresh, known in ((1, 1, 0), (0, 0, 0), (0, 1, 0), (1, 0, 1)):
            ctx.set(dut.memory.remembers, remembers)
            ctx.set(dut.memory.fresh, fresh)
            shown = rows if remembers else (rows + 1) % HW.max_experts
            assert await place(ctx, dut, shown) == [[(n, known) for n in range(k)]] * len(rows)

    simulate(dut, bench)
