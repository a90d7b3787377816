"""Layers, attention and a store on the datapath alone, against golden and the simulator."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.attention import attention
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.numerics import ACTIVATION, SCORE, WEIGHT
from deltamoe.rtl.compiler.placement import place, sets_of
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.program import Attention, Dest, Linear, Mode, Operator, Source
from deltamoe.sim.datapath import Pipeline
from deltamoe.sim.execution import ITEMS
from deltamoe.sim.items import Place
from deltamoe.sim.units.attention_items import attention_items
from deltamoe.sim.units.linear_items import linear_items
from deltamoe.sim.units.probabilities import Attention as Probabilities
from deltamoe.sim.units.writeback import Memories
from tests.support.bench import put, simulate
from tests.support.case import encoded
from tests.support.datapath import (
    LIMIT,
    load_image,
    load_parameters,
    load_weights,
    read_residual,
    run,
)

NANO = PRESETS["nano"]
P = NANO.word


async def timed(ctx, dut: Datapath, operator: Operator) -> tuple[dict[str, int], int, int]:
    """Run an operator; return its counts, and when it was issued and written."""
    for signature in (dut.issue, dut.draining):
        put(ctx, signature.operator.descriptor, encoded(operator))
    ctx.set(dut.issue.rows, operator.rows)
    counts, cycle, done, issued = defaultdict(int), 0, None, 0
    while done is None:
        ctx.set(dut.issue.operator.start, cycle == 0)
        for name in Datapath.COUNTS:
            counts[name] += ctx.get(getattr(dut.counts, name))
        if ctx.get(dut.issue.issued):
            issued = cycle
        if ctx.get(dut.draining.written):
            done = cycle
        await ctx.tick()
        cycle += 1
        assert cycle < LIMIT
    return counts, issued, done


@pytest.mark.parametrize(("tokens", "mode", "changes"), [
    (9, Mode.DENSE, {}), (17, Mode.ZERO_SKIP, {}), (17, Mode.DENSE, {"kv_rows": 40})], ids=str)
def test_attention_with_a_last_key(tokens: int, mode: Mode, changes: dict, seed: int) -> None:
    """Of the attention nothing differs, though the last key is in no group."""
    hw = replace(NANO, last_key=True, **changes)
    rng, heads, dim = np.random.default_rng(seed), 2, 2 * P
    words, columns = 2 * heads, heads * dim
    place_of, image = sets_of(heads, tokens, dim, hw), rng.integers(-128, 128, (tokens, columns))
    image *= rng.random(image.shape) < 0.6
    weights = [rng.integers(-127, 128, (columns, columns)) for _ in range(2)]
    keys, values = (requantize(linear(torch.tensor(image), torch.tensor(weight)), 60, 14, WEIGHT)
                    for weight in weights)
    kappa = {"kappa22": 3 << 20, "kappa26": 3 << 24}
    expected = attention(torch.tensor(image), keys, values, torch.tensor([60] * heads), 14, **kappa)
    assert (expected.e[..., -1] != expected.e[..., :-1].amax(-1)).float().mean() > 0.3
    assert place_of.last_key(tokens, hw)
    key_rows, _ = place_of.rows(tokens, dim, hw)
    size = hw.groups // place_of.sets
    value_base = -(-heads // place_of.sets) * key_rows
    shape = {"rows": tokens, "heads": heads, "head_words": dim // P, "source_stride": words,
             "set_size": hw.gangs.index(size)}
    placed, dut = place(columns, columns, hw), Datapath(hw)
    layer = Linear(source=Source.ACT, depth=columns, columns=columns, operand_signed=True,
                   **placed.fields(hw), **shape)
    whole = Attention(**shape, **kappa, **place_of.key_fields, head_dim=dim, mode=mode,
                      value_base=value_base, value_spread=place_of.value_spread, last_key=True,
                      dest_base=tokens * words, dest_stride=words)
    tiles = -(-tokens // (hw.lanes << place_of.spread))

    async def bench(ctx):
        await load_image(ctx, dut, image)
        await load_parameters(ctx, dut, np.zeros(columns, int), 60)
        for weight, fields in zip(weights, (
                {"dest": Dest.KEY, "key_gap": key_rows - key_rows // tiles, **place_of.key_fields},
                {"dest": Dest.VALUE, "dest_base": value_base, **place_of.value_fields}),
                strict=True):
            await load_weights(ctx, dut, weight, placed)
            await run(ctx, dut, replace(layer, **fields))
        counts, issued, done = await timed(ctx, dut, whole)
        place_items = Place(1 << whole.spread, 1 << whole.head_split, size)
        pipeline, sink = Pipeline(hw), Probabilities(hw, -(-tokens // P))
        pipeline.begin("attention", ITEMS, 0, place_items, lambda row: sink.ready[row], sink)
        operands = [image.reshape(tokens, heads, dim).swapaxes(0, 1), expected.e.numpy()]
        items = attention_items(whole, *operands, hw, place_items)
        assert [pipeline.step(item) for item in items][-1] == issued
        assert done == sink.end
        for name in set(Datapath.COUNTS) - {"softmax_words"}:
            assert counts[name] == pipeline.counters[name], name
        await load_weights(ctx, dut, np.eye(columns, dtype=int), placed)
        await load_parameters(ctx, dut, np.zeros(columns, int), 1 << 14)
        await run(ctx, dut, replace(layer, source_base=whole.dest_base, dest=Dest.OUTPUT,
                                    dest_stride=words))
        for row in range(tokens):
            got = [await read_residual(ctx, dut, hw, row * words + n) for n in range(words)]
            assert [code for word in got for code in word] == expected.out[row].tolist()

    simulate(dut, bench)


@pytest.mark.parametrize("hw", [NANO, replace(NANO, state_words=0, reference_words=0)],
                         ids=["keeps", "keeps-nothing"])
def test_two_layers(hw: HwConfig, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, depth, columns = 3, 2 * P, 4 * hw.lanes
    image = rng.integers(-128, 128, (rows, depth))
    layers = [(rng.integers(-127, 128, (columns, depth)), ACTIVATION, Dest.ACT, Source.ACT),
              (rng.integers(-127, 128, (P, columns)), SCORE, Dest.OUTPUT, Source.ACT)]
    bias = rng.integers(-500, 500, columns)
    a = torch.tensor(image)
    expected = []
    for weight, result, *_ in layers:
        n = len(weight)
        a = requantize(linear(a, torch.tensor(weight), torch.tensor(bias[:n])), 60, 14,
                       result)
        expected.append(a)
    assert (expected[0].abs() < 127).float().mean() > 0.3
    dut = Datapath(hw)

    async def bench(ctx):
        await load_image(ctx, dut, image)
        await load_parameters(ctx, dut, bias, 60)
        ctx.set(dut.draining.active, 1)
        ctx.set(dut.issue.released, 1)
        ctx.set(dut.issue.rows, rows)
        for (weight, _, dest, source), base in zip(layers, (0, 100), strict=True):
            placed = place(weight.shape[1], len(weight), hw)
            await load_weights(ctx, dut, weight, placed, base)
            layer = Linear(
                source=source, dest=dest, rows=rows, depth=weight.shape[1], columns=len(weight),
                weight_base=base, operand_signed=True, source_stride=weight.shape[1] // P,
                dest_stride=len(weight) // P, **placed.fields(hw))
            counts, issued, done = await timed(ctx, dut, layer)
            pipeline, sink = Pipeline(hw), Memories(hw)
            where = Place(placed.gang, 1 << placed.split, hw.groups)
            pipeline.begin("layer", ITEMS, 0, where, None, sink)
            items = linear_items(layer, None, [True] * rows, hw, where)
            assert [pipeline.step(item) for item in items][-1] == issued
            assert done == sink.end == pipeline.drain.free - 1 + sink.done
            for name in Datapath.COUNTS:
                assert counts[name] == pipeline.counters[name], name
        for row in range(rows):
            assert await read_residual(ctx, dut, hw, row) == expected[1][row].tolist()

    simulate(dut, bench)
