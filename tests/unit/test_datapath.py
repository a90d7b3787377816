"""Two layers and a store on the datapath alone, against golden and the simulator's cycles."""

from collections import defaultdict

import numpy as np
import torch

from golden.linear import linear
from golden.requantize import requantize
from rtl.config import PRESETS
from rtl.datapath import Datapath
from rtl.layout import weight_tiles
from rtl.linear.item_generator import ItemGenerator
from rtl.placement import place
from rtl.program import DESCRIPTOR, Dest, Opcode, Source, Target
from sim.datapath import Pipeline
from sim.items import Place
from sim.operators import RowSink, linear_items
from tests.support.bench import put, simulate
from tests.support.case import pack

HW = PRESETS["nano"]
P = HW.word


def test_two_layers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, depth, columns = 3, 2 * P, 4 * HW.lanes
    image = rng.integers(-128, 128, (rows, depth))
    layers = [(rng.integers(-127, 128, (columns, depth)), 8, Dest.ACT, Source.ACT),
              (rng.integers(-127, 128, (P, columns)), 16, Dest.OUTPUT, Source.ACT)]
    bias = rng.integers(-500, 500, columns)
    a = torch.tensor(image)
    expected = []
    for weight, width, *_ in layers:
        n = len(weight)
        a = requantize(linear(a, torch.tensor(weight), torch.tensor(bias[:n])), 60, shift=14,
                       width=width)
        expected.append(a)
    assert (expected[0].abs() < 127).float().mean() > 0.3
    dut = Datapath(HW)

    async def write(ctx, port, **fields) -> None:
        put(ctx, port, pack(port.shape(), {"en": 1, **fields}))
        await ctx.tick()
        put(ctx, port, 0)

    async def load(ctx, weight, placed, base: int) -> None:
        beats = weight_tiles(weight, HW, placed.gang, placed.split).reshape(-1, HW.lanes)
        for number, beat in enumerate(beats):
            tile, row = divmod(number, placed.rows)
            ctx.set(dut.load_groups, sum(1 << g for g in range(HW.groups)
                                         if g % placed.span == tile % placed.span))
            await write(ctx, dut.load_weight, data=beat.view(np.int8).tolist(),
                        row=base + tile // placed.span * placed.rows + row)

    async def bench(ctx):
        for number, word in enumerate(image.reshape(-1, 2 * P)):
            value = int.from_bytes(word.astype(np.int8).tobytes(), "little")
            await write(ctx, dut.load_image, address=number, data=value)
        for number, part in enumerate(bias.reshape(-1, P)):
            await write(ctx, dut.load_parameter, address=number, data=[
                {"bias": int(item), "multiplier": 60} for item in part])
        ctx.set(dut.active, 1)
        ctx.set(dut.released, 1)
        for (weight, _, dest, source), base in zip(layers, (0, 100), strict=True):
            placed = place(weight.shape[1], len(weight), HW)
            await load(ctx, weight, placed, base)
            fields = {"opcode": Opcode.LINEAR, "source": source, "dest": dest, "rows": rows,
                      "depth": weight.shape[1], "columns": len(weight), "weight_base": base,
                      "operand_signed": 1, "source_stride": weight.shape[1] // P,
                      "dest_stride": len(weight) // P, **placed.fields(HW)}
            for port in (dut.descriptor, dut.draining):
                put(ctx, port, pack(DESCRIPTOR, fields))
            counts, cycle, done, issued = defaultdict(int), 0, None, None
            while done is None:
                ctx.set(dut.start, cycle == 0)
                for name in Datapath.COUNTS:
                    counts[name] += ctx.get(dut.counts[name])
                if ctx.get(dut.issued):
                    issued = cycle
                if ctx.get(dut.written):
                    done = cycle
                await ctx.tick()
                cycle += 1
                assert cycle < 5000
            pipeline, sink = Pipeline(HW), RowSink(HW)
            pipeline.begin("layer", ItemGenerator.LATENCY, 0,
                           Place(placed.gang, 1 << placed.split, HW.groups), None, sink)
            items = linear_items(fields, None, [True] * rows, HW, pipeline.place)
            assert [pipeline.step(item) for item in items][-1] == issued
            assert done == sink.end == pipeline.drain_free - 1 + sink.done
            for name in Datapath.COUNTS:
                assert counts[name] == pipeline.counters[name], name
        ctx.set(dut.storing, 1)
        ctx.set(dut.store_target, Target.RESIDUAL)
        stored = []
        for row in range(rows):
            ctx.set(dut.store_address, row)
            assert ctx.get(dut.store_granted)
            await ctx.tick()
            stored.append(ctx.get(dut.store_data))
        assert stored == [int.from_bytes(row.astype("<i2").tobytes(), "little")
                          for row in expected[1].numpy()]

    simulate(dut, bench)
