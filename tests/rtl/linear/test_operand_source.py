"""Items become words, in the order that the source chooses."""

from itertools import pairwise

import numpy as np
import pytest
from amaranth import Cat, Value

from deltamoe.rtl import formats
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.linear.operand_source import OperandSource
from deltamoe.rtl.memory.activations import Activations
from deltamoe.rtl.program import Source
from tests.support.bench import get, put, simulate
from tests.support.case import pack
from tests.support.cases import HW, TOGETHER, P
from tests.support.items import leaders


def test_operand_source_waits_and_chooses(seed: int) -> None:
    """Needs first, then the lowest free queue; a row is read word by word, signed as asked."""
    rng = np.random.default_rng(seed)
    dut, memory = OperandSource(HW), rng.integers(0, 256, (64, P))
    layout, addresses = formats.item(HW), [0] * Activations.READ

    async def bench(ctx):
        async def offer(**fields) -> None:
            put(ctx, dut.i.payload, pack(layout, {"source": Source.ACT, "words": 3, "tail": 2,
                                                  "columns": 8, **fields}))
            ctx.set(dut.i.valid, 1)

        async def assigned(**fields) -> int:
            """Offer an item for one choice; return the leader that takes it, one-hot, or 0."""
            await offer(**fields)
            await ctx.tick().repeat(OperandSource.HELD)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(OperandSource.CHOSEN - 1)
            full, met = ctx.get(dut.counts.source_full), not ctx.get(dut.counts.source_needs)
            accepted = ctx.get(dut.queues.accept)
            assert (accepted != 0) == ctx.get(dut.drained.valid)
            assert not ctx.get(dut.drained.ready) or full == (met and not accepted)
            assert not accepted or 1 << ctx.get(dut.drained.p.leader) == accepted
            if not accepted:
                await leave()
            await ctx.tick()
            while ctx.get(dut.counts.source_busy):
                await ctx.tick()
            return accepted

        async def leave() -> None:
            """Let the item that is held go, while one waits at the last group."""
            held = [(port, ctx.get(port)) for port in (
                *dut.queues.waiting, dut.rows.released, dut.rows.probabilities, dut.drained.ready)]
            for (port, _), value in zip(held, (0, 0, 0, 1, 1, 9, 1), strict=True):
                ctx.set(port, value)
            await ctx.tick()
            if not ctx.get(dut.drained.valid):
                await ctx.tick().repeat(OperandSource.CHOSEN - 1)
            assert ctx.get(dut.drained.valid)
            for port, value in held:
                ctx.set(port, value)

        async def step():
            addresses.append(ctx.get(dut.read.act.address))
            await ctx.tick()
            for n in range(P):
                ctx.set(dut.read.act.data[n], int(memory[addresses[-Activations.READ] % 64, n]))

        ctx.set(dut.drained.ready, 1)
        ctx.set(dut.o.ready, 1)
        everywhere = {"leads": leaders(1)}
        await offer(address=10, need=2, norm=1, operand_signed=1, row=40, **everywhere,
                    drained={"split": 1})
        ctx.set(dut.rows.normed, 1)
        ctx.set(dut.rows.ready, 9)
        for worker, waiting in enumerate((1, 2, 0, 0)):
            ctx.set(dut.queues.waiting[worker], waiting)
        for cycle in range(OperandSource.HELD + OperandSource.CHOSEN):
            assert ctx.get(dut.i.ready) == (cycle == OperandSource.HELD)
            await step()
            ctx.set(dut.i.valid, cycle < OperandSource.HELD)
            assert not ctx.get(dut.drained.valid), "its row is not there"
        assert (ctx.get(dut.counts.source_needs), ctx.get(dut.counts.source_full)) == (1, 0)
        ctx.set(dut.rows.normed, 2)
        for _ in range(OperandSource.CHOSEN):
            assert not ctx.get(dut.drained.valid), "it is not chosen for"
            await step()
        assert ctx.get(dut.drained.valid)
        assert ctx.get(dut.queues.accept) == 1 << 2, "the lowest idle group"
        assert ctx.get(dut.drained.p.leader) == 2
        for _ in range(OperandSource.LATENCY):
            assert not ctx.get(dut.o.valid)
            await step()
        for word in range(3):
            assert ctx.get(dut.o.valid)
            signed = (memory[10 + word] + 128) % 256 - 128
            assert [ctx.get(dut.o.p.operand[n]) for n in range(P)] == signed.tolist()
            assert ctx.get(dut.o.p.row) == 40 + word * P // 2
            assert ctx.get(dut.o.p.last) == (word == 2)
            assert ctx.get(dut.o.p.count) == (2 if word == 2 else P)
            await step()
        assert not ctx.get(dut.o.valid)
        for waiting, span, first, end, few, accepted in (
                ((1, 1, 2, 0), 0, 0, 4, 0, 3), ((2, 1, 1, 2), 0, 0, 4, 0, 1),
                ((2, 2, 2, 2), 0, 0, 4, 0, None), ((2, 1, 0, 0), 1, 0, 4, 1, 2),
                ((2, 2, 2, 1), 1, 0, 4, 1, 0), ((3, 2, 2, 1), 1, 0, 4, 1, 2),
                ((3, 2, 0, 0), 2, 0, 4, 1, None), ((2, 2, 2, 2), 2, 0, 4, 1, 0),
                ((0, 0, 1, 2), 0, 2, 4, 1, 2), ((0, 0, 2, 1), 0, 2, 4, 1, 2),
                ((0, 0, 3, 2), 0, 2, 4, 1, 3), ((0, 0, 3, 3), 0, 2, 4, 1, None),
                ((0, 0, 2, 1), 0, 3, 4, 1, 3)):
            for group, value in enumerate(waiting):
                ctx.set(dut.queues.waiting[group], value)
            taken = await assigned(leads=leaders(HW.gangs[span], first, end), few=few,
                                   drained={"span": span})
            assert taken == (0 if accepted is None else 1 << accepted)
        half, third = HW.queue_words // 2, HW.queue_words // 3
        for words, waiting, found in ((half + 1, 1, 0), (half + 1, 0, 1), (half, 1, 1),
                                      (third + 1, 2, 0), (third + 1, 1, 1), (third, 2, 1)):
            for group in range(HW.groups):
                ctx.set(dut.queues.waiting[group], 0)
            assert await assigned(words=1, leads=0b10, few=1) == 2, "nothing waits"
            ctx.set(dut.queues.waiting[0], waiting)
            assert await assigned(words=words, leads=0b1, few=1) == found, "must fit the queue"
        for first, waiting, found in ((half + 1, 1, 0), (half, 1, 1), (half, 2, 0),
                                      (third + 1, 2, 0), (third, 2, 1), (third, 3, 0)):
            ctx.set(dut.queues.waiting[0], 0)
            assert await assigned(words=first, leads=0b1, few=1) == 1, "nothing waits"
            ctx.set(dut.queues.waiting[0], waiting)
            for _ in range(2):
                assert await assigned(words=1, leads=0b1, few=1) == found, (
                    "what is longer still waits")
                assert await assigned(words=1, leads=0b10, few=1) == 2, "elsewhere nothing waits"
        ctx.set(dut.queues.waiting[0], 0)
        for needed, released, probabilities, taken in ((3, 0, 3, 0), (3, 1, 2, 0), (3, 1, 3, 1)):
            ctx.set(dut.rows.released, released)
            ctx.set(dut.rows.probabilities, probabilities)
            assert (await assigned(source=Source.PROBABILITIES, need=needed, **everywhere)
                    != 0) == taken
        ctx.set(dut.drained.ready, 0)
        assert not await assigned(**everywhere), "its record has no room"

    simulate(dut, bench)


def test_items_are_read_one_behind_the_other(seed: int) -> None:
    """The next item is chosen for during the last read; one of a single word takes two cycles."""
    rng = np.random.default_rng(seed)
    dut, layout = OperandSource(HW), formats.item(HW)
    lengths = [3, 2, 1, 1, 4, *rng.integers(1, 6, 20).tolist()]

    async def bench(ctx):
        ctx.set(dut.drained.ready, 1)
        ctx.set(dut.o.ready, 1)
        taken, begun, reads, cycle = [], [], [], 0
        while len(begun) < len(lengths):
            ctx.set(dut.i.valid, len(taken) < len(lengths))
            put(ctx, dut.i.payload, pack(layout, {
                "source": Source.ACT, "address": 8 * len(taken), "words": [*lengths, 0][len(taken)],
                "tail": 1, "columns": 8, "leads": leaders(1)}))
            if ctx.get(dut.counts.source_busy):
                reads.append(ctx.get(dut.read.act.address))
            taken += [cycle] * ctx.get(dut.i.ready)
            begun += [cycle] * ctx.get(dut.drained.valid)
            await ctx.tick()
            cycle += 1
        assert begun[0] == OperandSource.HELD + OperandSource.CHOSEN
        assert taken == [OperandSource.HELD, *begun[:-1]], "the next is held as one is begun"
        assert [after - before for before, after in pairwise(begun)] == [
            max(words, OperandSource.SHORTEST) for words in lengths[:-1]]
        assert reads == [8 * number + word for number, words in enumerate(lengths)
                         for word in range(words)][: len(reads)]
        assert len(reads) == sum(lengths[:-1]) + 1

    simulate(dut, bench)


@pytest.mark.parametrize(("span", "few"), [(0, 0), (1, 1), (2, 1)])
def test_an_item_counts_from_the_cycle_in_which_it_is_assigned(span: int, few: int) -> None:
    """Items of one word: the next is chosen for before its groups tell that they have the last."""
    dut, layout, size = OperandSource(HW), formats.item(HW), HW.gangs[span]
    order = [leader for _ in range(2 + few) for leader in range(0, HW.groups, size)]
    if few and size < HW.groups:  # the first is preferred as long as it has room
        order = [0, 2, 0, 0, 2, 2]

    async def bench(ctx):
        ctx.set(dut.drained.ready, 1)
        ctx.set(dut.i.valid, 1)
        put(ctx, dut.i.payload, pack(layout, {
            "source": Source.ACT, "words": 1, "tail": 1, "leads": leaders(size), "few": few,
            "drained": {"span": span}}))
        waiting, chosen = [0] * HW.groups, []
        for _ in range(OperandSource.SHORTEST * (len(order) + 4)):
            accept = ctx.get(dut.queues.accept)
            if accept:
                chosen.append(accept.bit_length() - 1)
                for group in range(chosen[-1], chosen[-1] + size):
                    waiting[group] += 1
            await ctx.tick()
            for group, value in enumerate(waiting):
                ctx.set(dut.queues.waiting[group], value)
        assert chosen == order

    simulate(dut, bench)


@pytest.mark.parametrize("hw", [HW, TOGETHER], ids=["one", "four"])
def test_a_word_comes_with_what_its_item_says(hw: HwConfig, seed: int) -> None:
    """Items that differ in all they say, one behind the other; those that probe have no leader."""
    rng = np.random.default_rng(seed)
    dut, layout, traces = OperandSource(hw), formats.item(hw), formats.traced(hw)
    words = {source: rng.integers(0, 256, (64, hw.word)) for source in Source}
    beside = [rng.bytes(2 * (hw.read_words - 1) * hw.word) for _ in range(64)]
    flags = ["operand_signed", "dense", "kv", "tracks", "updates", "silent", "probe"]
    items, expected, read_beside = [], [], []
    for number in range(48):
        span = int(rng.integers(len(hw.gangs)))
        fields = {name: int(rng.integers(2)) for name in flags} | {
            "source": Source(list(Source)[number % len(Source)]), "theta": int(rng.integers(256)),
            "address": int(rng.integers(12)), "reference_address": int(rng.integers(48)),
            "words": int(rng.integers(1, 5)), "tail": int(rng.integers(1, hw.word + 1)),
            "row": int(rng.integers(256)), "columns": int(rng.integers(hw.mac_units + 1)),
            "reference": int(rng.integers(-128, 256)),
            "leads": 1 << int(rng.integers(hw.groups // hw.gangs[span])) * hw.gangs[span],
            "drained": {"span": span, "gang": int(rng.integers(16)),
                        "split": int(rng.integers(3))}}
        if hw.read_words > 1:
            fields["wide"] = int(fields["source"] == Source.ACT and rng.integers(2))
        items.append(fields)
        step = hw.read_words if fields.get("wide") else 1
        for word in range(fields["words"]):
            address = fields["address"] + word * step
            recalled = word + (fields["address"] if fields["source"] == Source.REFERENCE
                               else fields["reference_address"])
            last = word == fields["words"] - 1
            operand, before = (memory[place % 64].astype(np.uint8).view(
                np.int8 if fields["operand_signed"] else np.uint8).astype(int).tolist()
                for memory, place in (
                    (words[fields["source"]],
                     recalled if fields["source"] == Source.REFERENCE else address),
                    (words[Source.REFERENCE], recalled)))
            expected.append({name: fields[name] for name in (*traces, "dense", "kv", "columns")} | {
                **fields["drained"], "operand": operand, "last": last,
                "complement": [~value for value in (
                    before if fields["tracks"] else [fields["reference"]] * hw.word)],
                "reference_address": recalled, "count": fields["tail"] if last else hw.word,
                "row": fields["row"] + word * (step * hw.word >> fields["drained"]["split"]),
                **({"leader": fields["leads"].bit_length() - 1} if not fields["probe"] else {}),
                **({name: fields[name] for name in ("wide", "operand_signed")}
                   if hw.read_words > 1 else {})})
            read_beside.append((address % 2, beside[address % 64]))

    async def bench(ctx):
        ports = {source: getattr(dut.read, Source(source).name.lower()) for source in Source}
        latency = {source: Activations.READ if source == Source.ACT else 1 for source in Source}
        asked = {source: [0] * latency[source] for source in Source}
        for port in (dut.drained.ready, dut.o.ready, dut.rows.released):
            ctx.set(port, 1)
        taken, assigned, seen = 0, [], []
        while len(seen) < len(expected):
            ctx.set(dut.i.valid, taken < len(items))
            put(ctx, dut.i.payload, pack(layout, [*items, items[0]][taken]))
            taken += ctx.get(dut.i.ready)
            if ctx.get(dut.drained.valid):
                assigned.append((ctx.get(dut.queues.accept), ctx.get(dut.queues.span)))
            if ctx.get(dut.o.valid):
                wanted = expected[len(seen)]
                seen.append({name: [ctx.get(dut.o.p[name][n]) for n in range(hw.word)]
                             if name in ("operand", "complement") else ctx.get(dut.o.p[name])
                             for name in wanted})
                assert seen[-1] == wanted, len(seen)
                if hw.read_words > 1 and wanted["wide"]:
                    upper, others = read_beside[len(seen) - 1]
                    assert ctx.get(dut.o.p.upper) == upper
                    assert get(ctx, dut.o.p.beside) == int.from_bytes(others, "little")
            recalls = ctx.get(dut.read.reference.recalls)
            for kind, port in ports.items():
                asked[kind].append(ctx.get(port.address) % 64)
            await ctx.tick()
            for kind, port in ports.items():
                place = asked[kind][-latency[kind]]
                missing = kind == Source.REFERENCE and not recalls
                for n in range(hw.word):
                    ctx.set(port.data[n], 0 if missing else int(words[kind][place, n]))
                if kind == Source.ACT and hw.read_words > 1:
                    put(ctx, Cat(Value.cast(half) for half in port.beside),
                        int.from_bytes(beside[place], "little"))
                    ctx.set(port.upper, place % 2)
        assert assigned == [(fields["leads"], fields["drained"]["span"]) for fields in items
                            if not fields["probe"]]

    simulate(dut, bench)
