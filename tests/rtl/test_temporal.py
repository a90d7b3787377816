"""What is kept from frame to frame: sums, references, which tokens changed, and where."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.events import advance, encode
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.config import MODELS
from deltamoe.golden.operators import EVERY, Operator, Part, feed_forward
from deltamoe.golden.temporal.policy import Choice, Plan, Policy
from deltamoe.rtl import formats
from deltamoe.rtl.compiler.kept_state import Keeping, Region
from deltamoe.rtl.compiler.plans import named
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.moe.dispatch import Dispatch
from deltamoe.rtl.program import Dest, Linear, Source
from deltamoe.rtl.temporal.kept_sums import KeptSums
from deltamoe.rtl.temporal.probe_items import ProbeItems
from deltamoe.rtl.temporal.wing import TemporalWing
from tests.support.bench import drive, put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import TOGETHER

HW = PRESETS["nano"]
P = HW.word
DIGITS = MODELS["digits"]


def test_kept_sums_are_those_of_the_reference(seed: int) -> None:
    """Events of eight frames; a fresh frame forgets, one that does not store leaves its sums."""
    rng = np.random.default_rng(seed)
    dut, rows, depth = KeptSums(HW), 5, 9
    weight = torch.tensor(rng.integers(-127, 128, (P, depth)))
    references = [torch.zeros(rows, depth, dtype=torch.int64)]

    async def bench(ctx):
        for frame in range(8):
            fresh, stores = frame in {0, 5}, frame != 3
            x = torch.tensor(rng.integers(-128, 128, (rows, depth)))
            before = torch.zeros_like(x) if fresh else references[-1]
            events = linear(x - before, weight)
            got = []
            for row in range(rows + KeptSums.LATENCY):
                given = min(row, rows - 1)
                for n in range(P):
                    ctx.set(dut.acc[n], int(events[given, n]))
                put(ctx, dut.kept.where, pack(dut.kept.where.shape(), {
                    "state": 40 + given, "accumulates": not fresh,
                    "stores": stores and row < rows}))
                if row >= KeptSums.LATENCY:
                    got.append([ctx.get(dut.sum[n]) for n in range(P)])
                await ctx.tick()
            assert got == linear(x, weight).tolist()
            if stores:
                references.append(x)

    simulate(dut, bench)


@pytest.mark.parametrize("keeps", [True, False])
def test_wing_keeps_sums_and_references_or_lets_sums_pass(keeps: bool, seed: int) -> None:
    """A word is added to its place a second time; what operands recall comes before ``STORE``."""
    rng = np.random.default_rng(seed)
    hw = HW if keeps else replace(HW, state_words=0, reference_words=0)
    dut, late = TemporalWing(hw), KeptSums.LATENCY if keeps else 0
    sums, words = rng.integers(-1000, 1000, (2, P)), rng.integers(0, 256, (2, P))

    async def step(ctx) -> None:
        await (ctx.tick() if keeps else ctx.delay(1e-6))

    async def show(ctx, acc, accumulates: bool) -> list[int]:
        for n in range(P):
            ctx.set(dut.computed.acc[n], int(acc[n]))
        put(ctx, dut.kept.where, pack(dut.kept.where.shape(), {
            "state": 9, "accumulates": accumulates, "stores": 1} if keeps else {}))
        assert ctx.get(dut.counts.kept_words) == keeps
        for _ in range(late):
            await step(ctx)
            put(ctx, dut.kept.where, 0)
        return [ctx.get(dut.sums.acc[n]) for n in range(P)]

    async def bench(ctx):
        assert await show(ctx, sums[0], False) == sums[0].tolist()
        await step(ctx)
        assert await show(ctx, sums[1], True) == (sums[1] + (sums[0] if keeps else 0)).tolist()
        for place, word in enumerate(words):
            drive(ctx, dut.update, en=1, address=place if keeps else 0, data=word.tolist())
            await step(ctx)
        drive(ctx, dut.update)
        for recalls in (1, 0):
            drive(ctx, dut.recall, **({"recalls": recalls, "address": 1} if keeps else {}))
            drive(ctx, dut.references)
            assert ctx.get(dut.references.granted) == (keeps and not recalls)
            await step(ctx)
            expected = words[recalls].tolist() if keeps else [0] * P
            assert [ctx.get(dut.recall.data[n]) for n in range(P)] == expected
            assert [ctx.get(dut.references.data[n]) for n in range(P)] == expected

    simulate(dut, bench, clocked=keeps)


def test_encoder_moves_its_reference_by_what_it_sends(seed: int) -> None:
    """A closed loop over frames that drift and jump: nothing left out exceeds theta."""
    rng = np.random.default_rng(seed)
    dut, theta, sent = EventEncoder(HW), 3, set()
    wanted, counted = [], []
    reference = torch.zeros(P, dtype=torch.int64)

    async def bench(ctx):
        nonlocal reference
        x = np.zeros(P, int)
        for frame in range(80):
            x = (x + rng.integers(-2, 3, P)).clip(-128, 127)
            if frame % 9 == 4:
                x = np.where(x < 0, 127, -128)
            events = encode(torch.tensor(x), "delta", reference=reference, theta=theta)
            put(ctx, dut.i.payload, pack(formats.operands(HW), {
                "operand": x.tolist(), "complement": (~reference).tolist(), "count": P, "last": 1,
                "theta": theta, "tracks": 1, "updates": 1, "reference_address": 70 + frame}))
            ctx.set(dut.i.valid, 1)
            wanted.append(len(events))
            await ctx.tick().repeat(EventEncoder.WRITTEN)
            counted.append(ctx.get(dut.counts.events))
            assert (ctx.get(dut.write.en), ctx.get(dut.write.address)) == (1, 70 + frame)
            reference = advance(reference, events)
            kept = [(ctx.get(dut.write.data[n]) + 128) % 256 - 128 for n in range(P)]
            assert kept == reference.tolist()
            assert np.abs(x - reference.numpy()).max() <= theta
            sent.update(abs(delta) for _, delta in events)
        ctx.set(dut.i.valid, 0)
        for _ in range(EventEncoder.timing.latency):
            await ctx.tick()
            counted.append(ctx.get(dut.counts.events))
            assert not ctx.get(dut.write.en)

    simulate(dut, bench)
    assert counted == [0] * EventEncoder.timing.latency + wanted
    assert {4, 255} <= sent
    assert not sent & {1, 2, 3}


@pytest.mark.parametrize(("wide", "count", "events", "elements"), [
    (0, 5, 3, 5), (1, TOGETHER.word, 3 + 1 + 0 + 2, 4 * TOGETHER.word)])
def test_encoder_counts_all_words_that_it_gets(wide: int, count: int, events: int, elements: int,
                                               ) -> None:
    """Of four words 3, 1, 0 and 2 elements differ from the zero point; 9 columns each."""
    dut, p, zero = EventEncoder(TOGETHER), TOGETHER.word, 7

    async def bench(ctx):
        words = [[zero + (n < more) for n in range(p)] for more in (3, 1, 0, 2)]
        put(ctx, dut.i.payload, pack(formats.operands(TOGETHER), {
            "operand": words[0], "complement": [~zero] * p, "wide": wide, "upper": 1,
            "beside": [[[0] * p] * 3, words[1:]], "count": count, "last": 1, "columns": 9}))
        ctx.set(dut.i.valid, 1)
        counts, added = dut.counts, []
        for _ in range(8):
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            added.append([ctx.get(count) for count in (
                counts.events, counts.macs, counts.macs_skipped)])
        assert np.sum(added, 0).tolist() == [events, 9 * events, 9 * (elements - events)]

    simulate(dut, bench)


@pytest.mark.parametrize("changes", [[0, 0, 0], [1, 0, 1], [0, 1, 1]])
def test_probe_copies_the_rows_that_changed(changes: list[int]) -> None:
    """A row of three words, judged by its last; then the next, or the same once more."""
    dut, words = ProbeItems(HW), 3

    async def bench(ctx):
        put(ctx, dut.operator.descriptor, encoded(Linear(
            dest=Dest.CHANGED, rows=len(changes), depth=words * P - 1, source=Source.NORMED,
            source_base=9, source_stride=4, reference_base=50, theta=2, operand_signed=True)))
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.operator.start, 1)
        items, done, judged, first = [], None, -1, 0
        for cycle in range(40):
            if ctx.get(dut.o.valid):
                made = dut.o.p
                items.append(tuple(ctx.get(made[name]) for name in (
                    "address", "reference_address", "updates", "dense", "words", "tail")))
                assert ctx.get(made.probe)
                judged = judged if ctx.get(made.updates) else cycle + words
                first = cycle if len(items) == 1 else first
            ctx.set(dut.verdict.valid, cycle == judged)
            ctx.set(dut.verdict.payload, changes[min(ctx.get(dut.row), 2)])
            if ctx.get(dut.done):
                assert done is None
                done = cycle
            await ctx.tick()
            ctx.set(dut.operator.start, 0)
        expected = []
        for row, changed in enumerate(changes):
            for updates in range(1 + changed):
                expected.append((9 + 4 * row, 50 + 4 * row, updates, updates, words, P - 1))
        assert items == expected
        assert first == ProbeItems.LATENCY
        assert done == first + (words + 1) * len(changes) + sum(changes) - 1

    simulate(dut, bench)


def test_dispatch_sets_unchanged_tokens_apart(seed: int) -> None:
    """First as dense layers use it, straight from the probe, then behind a gate."""
    rng = np.random.default_rng(seed)
    dut, tokens, k = Dispatch(HW), 12, 3
    changed = rng.integers(0, 2, tokens)
    experts = np.stack([rng.permutation(HW.max_experts)[:k] for _ in range(tokens)])
    slots = np.stack([rng.permutation(k) for _ in range(tokens)])

    async def read(ctx, queue: int) -> list[tuple[int, int, int]]:
        ctx.set(dut.queues.lengths.address, queue)
        made, entry = [], dut.read.data
        for index in range(ctx.get(dut.queues.lengths.data)):
            ctx.set(dut.read.address, queue * HW.max_tokens + index)
            await ctx.tick()
            made.append((ctx.get(entry.token), ctx.get(entry.place), ctx.get(entry.known)))
        return made

    async def bench(ctx):
        for token in range(tokens):
            put(ctx, dut.probed.payload, pack(formats.probed(HW), {
                "row": token, "changed": int(changed[token]), "routes": 1}))
            ctx.set(dut.probed.valid, 1)
            await ctx.tick()
        ctx.set(dut.probed.valid, 0)
        for queue, value in ((0, 1), (HW.max_experts, 0)):
            assert await read(ctx, queue) == [(t, t, 0) for t in np.flatnonzero(changed == value)]
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        ctx.set(dut.gated, 1)
        for row, places in zip(experts, slots, strict=True):
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
            for choice, expert in enumerate(row):
                put(ctx, dut.i.payload, pack(formats.route(HW), {
                    "expert": int(expert), "weight": 7, "last": choice == k - 1,
                    "slot": int(places[choice]), "known": int(expert) % 2}))
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for expert in range(HW.max_experts):
            for queue, value in ((expert, 1), (expert + HW.max_experts, 0)):
                wanted = [(token, k * token + slots[token][row.tolist().index(expert)], expert % 2)
                          for token, row in enumerate(experts)
                          if expert in row and changed[token] == value]
                assert await read(ctx, queue) == wanted

    simulate(dut, bench)
    assert 0 < changed.sum() < tokens


GATE = Operator(Part.GATE, 1, task=0)


def gated(layer: int, theta: int = 0) -> dict[Operator, Choice]:
    """Choices of a token gate before the second half of a block of the digits network."""
    fc1, fc2 = feed_forward(DIGITS, layer)
    first = [GATE, fc1] if DIGITS.is_moe(layer) else [fc1]
    return {**dict.fromkeys((replace(operator, layer=layer) for operator in first),
                            Choice(Policy.TOKEN_GATE, theta)), fc2: Choice(Policy.TOKEN_GATE)}


@pytest.mark.parametrize(("operators", "hardware", "said"), [
    ({Operator(Part.FC1, 1, EVERY): Choice(Policy.DELTA)}, PRESETS["ulx3s"],
     "its state_words are 0"),
    ({Operator(Part.PATCH): Choice(Policy.TOKEN_GATE)}, HW, "whole block: not here"),
    ({Operator(Part.FC1, 0): Choice(Policy.TOKEN_GATE)}, HW, "block: blocks.0.fc1, blocks.0.fc2"),
    (gated(0, 2) | {Operator(Part.FC2, 0): Choice(Policy.TOKEN_GATE, 1)}, HW, "blocks.0.fc1, "),
    (gated(1, 2) | {GATE: Choice(Policy.TOKEN_GATE, 1)}, HW, "blocks.1.gate.0"),
    ({Operator(Part.PATCH): Choice(Policy.DELTA)}, PRESETS["ulx3s"],
     "ulx3s executes dense and zero-skip"),
])
def test_what_hardware_does_not_execute(operators, hardware, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Keeping(DIGITS, hardware, 0, Plan(Choice(Policy.DENSE), operators))


def test_gates_of_other_tasks_do_not_matter() -> None:
    plan = Plan(Choice(Policy.DENSE), gated(1, 3))
    assert Keeping(DIGITS, HW, 0, plan).gate(Operator(Part.FC2, 1, EVERY)) == Policy.TOKEN_GATE
    with pytest.raises(ValueError, match=r"gate\.1"):
        Keeping(DIGITS, HW, 1, plan)


def every_gate() -> Plan:
    """Gates before all blocks of the digits network: 136 words of sums, of experts 272."""
    return Plan(Choice(Policy.DENSE), {
        operator: choice for layer in range(4) for operator, choice in gated(layer).items()})


@pytest.mark.parametrize(("sums", "references", "stays", "reserved"), [
    (816, 544, {0, 1, 2, 3}, [816, 544]), (815, 544, {0}, [136, 136]),
    (816, 543, {0}, [136, 136]), (1000, 408, {0}, [136, 136]), (1000, 407, set(), [0, 0]),
    (679, 512, set(), [0, 0])])
def test_gates_stay_on_chip_or_leave_room_for_two(sums: int, references: int, stays: set[int],
                                                  reserved: list[int]) -> None:
    plan = every_gate()
    keeping = Keeping(DIGITS, replace(HW, state_words=sums, reference_words=references), 0, plan)
    assert keeping.streamed == {operator for operator in plan.operators
                                if operator.layer not in stays}
    assert [keeping.state.reserved, keeping.references.reserved] == reserved


def test_token_gate_takes_the_blocks_that_stay_or_stream() -> None:
    for sums, references, layers in ((272, 136, {0, 1, 2, 3}), (271, 136, {0, 2}),
                                     (135, 136, set()), (4096, 135, set())):
        hw = replace(HW, state_words=sums, reference_words=references)
        gates = named("token-gate", DIGITS, hw).operators
        assert {operator.layer for operator in gates} == layers


def test_regions_are_handed_out_once() -> None:
    region = Region(10, "state_words")
    assert [region.take("a", 4), region.take("b", 6), region.take("a", 4)] == [0, 4, 0]
    with pytest.raises(ValueError, match="c keeps 1 state_words, the hardware has 0 of 10 left"):
        region.take("c", 1)


def test_sums_and_operands_are_kept_together() -> None:
    with pytest.raises(ValueError, match="state_words=0 and reference_words=4096"):
        replace(HW, state_words=0)
