"""Words become events; words that are read together."""


import numpy as np
import pytest
import torch

from deltamoe.golden.arithmetic.events import advance, encode
from deltamoe.rtl import formats
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.linear.item_generator import ItemGenerator
from deltamoe.rtl.linear.operand_source import OperandSource
from deltamoe.rtl.memory.activations import Activations
from deltamoe.rtl.program import Linear, Source
from tests.support.bench import put, simulate
from tests.support.case import pack
from tests.support.cases import HW, TOGETHER, P
from tests.support.items import items_of


@pytest.mark.parametrize("wide", [0, 1])
def test_words_are_read_together(wide: int, seed: int) -> None:
    """From the descriptor to the encoder: reads of four words, or of one."""
    rng = np.random.default_rng(seed)
    hw, rows, reads, p = TOGETHER, 3, 2, TOGETHER.word
    size, words = hw.read_words if wide else 1, reads * hw.read_words
    memory, other = rng.integers(0, 256, (2, 64, p))
    items, dut = ItemGenerator(hw), OperandSource(hw)
    issued = []

    async def issue(ctx):
        layer = Linear(
            source=Source.ACT, rows=rows, depth=words * p, columns=2 * p, wide=bool(wide), split=3,
            span=len(hw.gangs) - 1, weight_base=7, source_base=8, source_stride=16)
        ctx.set(items.rows, rows)
        issued.extend(await items_of(ctx, items, rows, layer, 1))

    async def bench(ctx):
        for number, given in enumerate(issued):
            assert (given["words"], given["wide"]) == (words // size, wide)
            assert (given["address"], given["row"]) == (8 + 16 * number, 7)
            put(ctx, dut.i.payload, pack(formats.item(hw), {
                name: value for name, value in given.items() if not name.startswith("to_")}
                | {"drained": {"split": given["to_split"], "span": given["to_span"]}}))
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.drained.ready, 1)
            ctx.set(dut.o.ready, 1)
            await ctx.tick().repeat(OperandSource.HELD)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(OperandSource.CHOSEN - 1)
            seen, addresses = [], [0] * Activations.READ
            for _ in range(words // size + OperandSource.LATENCY):
                addresses.append(ctx.get(dut.read.act.address))
                await ctx.tick()
                address = addresses[-Activations.READ]
                upper = int(rng.integers(2))
                ctx.set(dut.read.act.upper, upper)
                for n in range(p):
                    ctx.set(dut.read.act.data[n], int(memory[address % 64, n]))
                    for k in range(hw.read_words - 1):
                        for half, held in enumerate((other, memory)):
                            ctx.set(dut.read.act.beside[half ^ upper ^ 1][k][n],
                                    int(held[(address + k + 1) % 64, n]))
                if ctx.get(dut.o.valid):
                    sent = dut.o.p
                    beside = sent.beside[ctx.get(sent.upper)]
                    seen.append((ctx.get(sent.row), ctx.get(sent.wide), [
                        [ctx.get(word[n]) % 256 for n in range(p)] for word in (
                            sent.operand, *(beside[k] for k in range(size - 1)))]))
            first = 8 + 16 * number
            assert seen == [(7 + read * size * p // 8, wide,
                             memory[first + read * size :][:size].tolist())
                            for read in range(words // size)]

    simulate(items, issue)
    simulate(dut, bench)


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
