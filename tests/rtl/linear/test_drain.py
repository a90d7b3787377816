"""The drain: order of issue, and credits."""

import numpy as np
from amaranth import Value

from deltamoe.golden.numerics import ACTIVATION
from deltamoe.rtl import formats
from deltamoe.rtl.attention.softmax import Softmax
from deltamoe.rtl.formats import RESULTS
from deltamoe.rtl.linear.compute_unit import ComputeUnit
from deltamoe.rtl.linear.drain import MADE, Drain
from deltamoe.rtl.moe.gate import Gate
from deltamoe.rtl.program import Dest
from tests.support.bench import drive, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, P


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
        seen, tags, scales = [], [], []
        for _ in range(2 * rows + Drain.latency(HW)):
            if ctx.get(dut.counts.drain_busy):
                seen.append((ctx.get(dut.sums.groups), ctx.get(dut.sums.word),
                             ctx.get(dut.sums.release)))
            await ctx.tick()
            if ctx.get(dut.o.valid):
                tag = dut.o.p.tag
                tags.append((ctx.get(tag.address), ctx.get(tag.count), ctx.get(dut.o.p.width),
                             ctx.get(dut.o.p.shift)))
                scales.append([(ctx.get(dut.o.p.bias[n]), ctx.get(dut.o.p.multiplier[n]))
                               for n in range(P)])
        width = RESULTS.index(MADE[Dest.SCORES])
        assert seen == [(1 << n % HW.groups, word, word) for n in range(rows - 1)
                        for word in range(2)]
        assert tags == [(10 * n + word, 3 if word else P, width, 1) for n in range(rows - 1)
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


def test_every_word_waits_for_its_credit_alone(seed: int) -> None:
    """Items that open a row or a token, or neither, of two operators; all sums are there.

    In every cycle in which a record may be drained, it is, unless it opens what has no room.
    """
    rng, dut, layout = np.random.default_rng(seed), Drain(HW), formats.drained(HW)
    limits = {Dest.SCORES: Softmax.ROWS, Dest.GATE: Gate.TOKENS}
    others = [*limits, Dest.ACT, Dest.KEY, Dest.OUTPUT, Dest.COMBINE]
    records = [{
        "leader": int(rng.integers(HW.groups)), "op": 2 + number // 12,
        "words": int(rng.integers(1, 4)), "count": int(rng.integers(1, P + 1)),
        "dest": int([*limits][number // 12] if rng.random() < 0.8 else rng.choice(others)),
        "address": int(rng.integers(200)),
        "param": int(rng.integers(8)), "slot": int(rng.integers(HW.attention_lag + 1)),
        "weight": int(rng.integers(1 << 16)), "shift": int(rng.integers(4)),
        "state": int(rng.integers(200)), **{name: int(rng.integers(2)) for name in (
            "advance", "normalize", "bank", "last", "flush", "final", "accumulates", "stores")},
        "first": int(rng.random() < 0.8)} for number in range(24)]
    factors = [{"multiplier": 1000 + slot, "shift": slot % 4}
               for slot in range(HW.attention_lag + 1)]

    def opens(number: int, word: int) -> bool:
        return bool(records[number]["first"]) and word == 0 and records[number]["dest"] in limits

    async def bench(ctx):
        for n in range(12):
            drive(ctx, dut.parameters, en=1, address=n, data=[
                {"bias": 7 * n + channel, "multiplier": 100 * n + channel} for channel in range(P)])
            await ctx.tick()
        drive(ctx, dut.parameters)
        for record in records:
            put(ctx, dut.i.payload, pack(layout, record))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.sums.summed, 3)
        ctx.set(dut.active, 1)
        await ctx.tick().repeat(Drain.VISIBLE)
        words = [(number, word) for number, record in enumerate(records)
                 for word in range(record["words"])]
        under_way, blocked, together, op = dict.fromkeys(limits, 0), 0, 0, 2
        allowed = Drain.START - 1
        ctx.set(dut.op, op)
        drained: list[tuple[int, int] | None] = []
        late = ComputeUnit.READ_LATENCY
        while words or any(drained[-Drain.latency(HW) - 2 :]):
            cycle = len(drained)
            number, word = words[0] if words else (0, 0)
            record = records[number]
            due = bool(words) and record["op"] == op and cycle > allowed
            dest = record["dest"]
            waits = opens(number, word) and under_way[dest] == limits[dest]
            assert ctx.get(dut.counts.drain_busy) == (due and not waits)
            assert ctx.get(dut.counts.drain_credit) == (due and waits)
            blocked += due and waits
            begins = due and not waits and opens(number, word)
            freed = {other: under_way[other] > 0 and rng.random() < (
                0.25 if begins and other == dest else 0.03) for other in limits}
            for name, other in (("row_freed", Dest.SCORES), ("token_freed", Dest.GATE)):
                ctx.set(getattr(dut, name), freed[other])
                under_way[other] -= freed[other]
            drained.append((number, word) if due and not waits else None)
            if drained[-1]:
                words.pop(0)
                assert ctx.get(dut.sums.word) == word
                assert ctx.get(dut.sums.release) == (word == record["words"] - 1)
            if begins:
                together += freed[dest]
                under_way[dest] += 1
            if words and records[words[0][0]]["op"] != op and not any(drained[-5:]):
                op, allowed = op + 1, cycle + Drain.START - 1
                ctx.set(dut.op, op)
            slot = ctx.get(dut.normalizers.address)
            ctx.set(dut.normalizers.data, factors[slot])
            before = drained[-1 - Drain.latency(HW)] if cycle >= Drain.latency(HW) else None
            assert ctx.get(dut.o.valid) == (before is not None)
            if before:
                check_word(ctx, dut, records[before[0]], before[1], factors)
            kept = drained[-1 - late] if cycle >= late else None
            where = dut.kept.where
            assert ctx.get(where.stores) == (bool(kept) and records[kept[0]]["stores"])
            assert ctx.get(where.accumulates) == (bool(kept) and records[kept[0]]["accumulates"])
            assert not kept or ctx.get(where.state) == records[kept[0]]["state"] + kept[1]
            assert ctx.get(dut.kept.passes) == (
                cycle > late and drained[-2 - late] is not None)
            await ctx.tick()
        for op in range(8):
            ctx.set(dut.op, op)
            await ctx.tick().repeat(Drain.START)
            assert not ctx.get(dut.counts.drain_busy), "there is no record"
        assert blocked
        assert together, "nothing is freed as another one begins"

    simulate(dut, bench)


def check_word(ctx, dut: Drain, record: dict[str, int], word: int, factors: list[dict]) -> None:
    """A word has what its record says, and no other's."""
    out, last = dut.o.p, word == record["words"] - 1
    factor = factors[record["slot"]]
    param = record["param"] + word * record["advance"]
    assert {name: ctx.get(Value.cast(out.tag[name])) for name in out.tag.shape().members} == {
        "dest": record["dest"], "address": record["address"] + word, "weight": record["weight"],
        "count": record["count"] if last else P, "bank": record["bank"],
        "first": record["first"] and word == 0, "last": record["last"] and last,
        "flush": record["flush"], "final": record["final"] and last}
    assert ctx.get(out.width) == RESULTS.index(MADE.get(record["dest"], ACTIVATION))
    assert ctx.get(out.shift) == (factor if record["normalize"] else record)["shift"]
    assert [ctx.get(out.bias[n]) for n in range(P)] == [7 * param + n for n in range(P)]
    assert [ctx.get(out.multiplier[n]) for n in range(P)] == [
        factor["multiplier"] if record["normalize"] else 100 * param + n for n in range(P)]


def test_the_record_behind_comes_in_while_the_oldest_waits() -> None:
    """Its groups are asked for as soon as it is there, not when the oldest is released."""
    dut, layout = Drain(HW), formats.drained(HW)

    async def bench(ctx):
        for leader in range(2):
            put(ctx, dut.i.payload, pack(layout, {"leader": leader, "words": 1, "count": 1}))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(20)
            assert ctx.get(dut.sums.groups) == 1, "the first is not released"
        assert ctx.get(dut.sums.next_groups) == 2

    simulate(dut, bench)
