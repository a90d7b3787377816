"""Two layers and a store on the datapath alone, against golden and the simulator's cycles."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.numerics import ACTIVATION, SCORE
from deltamoe.rtl.compiler.placement import place
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.program import Dest, Linear, Source
from deltamoe.sim.datapath import Pipeline
from deltamoe.sim.execution import ITEMS
from deltamoe.sim.items import Place
from deltamoe.sim.units.linear_items import linear_items
from deltamoe.sim.units.writeback import Memories
from tests.support.bench import put, simulate
from tests.support.case import encoded
from tests.support.datapath import load_image, load_parameters, load_weights, read_residual

NANO = PRESETS["nano"]
P = NANO.word


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
            for signature in (dut.issue, dut.draining):
                put(ctx, signature.operator.descriptor, encoded(layer))
            ctx.set(dut.issue.rows, rows)
            counts, cycle, done, issued = defaultdict(int), 0, None, None
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
                assert cycle < 5000
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
