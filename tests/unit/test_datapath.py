"""Two layers and a store on the datapath alone, against golden and the simulator's cycles."""

from collections import defaultdict

import numpy as np
import torch

from golden.linear import linear
from golden.requantize import requantize
from rtl.config import PRESETS
from rtl.datapath import Datapath
from rtl.program import DESCRIPTOR, Dest, Opcode, Source
from sim.datapath import Pipeline, Sink
from sim.operators import linear_items
from tests.support.bench import put, simulate
from tests.support.case import pack

HW = PRESETS["nano"]
P = HW.word
GANG = len(HW.gangs) - 1


def test_two_layers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, depth, columns = 3, 2 * P, 4 * HW.lanes
    image = rng.integers(-128, 128, (rows, depth))
    layers = [(rng.integers(-127, 128, (columns, depth)), 8, Dest.ACT, Source.IMAGE),
              (rng.integers(-127, 128, (P, columns)), 16, Dest.OUTPUT, Source.ACT)]
    bias = rng.integers(-500, 500, columns)
    gang = HW.gangs[GANG]
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

    async def load(ctx, weight, base: int) -> None:
        padded = np.pad(weight, ((0, -len(weight) % HW.lanes), (0, 0)))
        for tile, part in enumerate(padded.reshape(-1, HW.lanes, weight.shape[1])):
            for k in range(weight.shape[1]):
                ctx.set(dut.load_groups, sum(1 << g for g in range(HW.groups)
                                             if g % gang == tile % gang))
                await write(ctx, dut.load_weight, row=base + tile // gang * weight.shape[1] + k,
                            data=part[:, k].tolist())

    async def bench(ctx):
        for number, word in enumerate(image.reshape(-1, 2 * P)):
            value = int.from_bytes(word.astype(np.int8).tobytes(), "little")
            await write(ctx, dut.load_image, address=number, data=value)
        for number, part in enumerate(bias.reshape(-1, P)):
            await write(ctx, dut.load_parameter, address=number, data=[
                {"bias": int(item), "multiplier": 60} for item in part])
        for (weight, _, dest, source), base in zip(layers, (0, 100), strict=True):
            await load(ctx, weight, base)
            fields = {"opcode": Opcode.LINEAR, "source": source, "dest": dest, "rows": rows,
                      "depth": weight.shape[1], "columns": len(weight), "gang": GANG,
                      "weight_base": base, "operand_signed": 1,
                      "source_stride": weight.shape[1] // P, "dest_stride": len(weight) // P}
            put(ctx, dut.descriptor, pack(DESCRIPTOR, fields))
            counts, cycle, done = defaultdict(int), 0, None
            while done is None:
                ctx.set(dut.start, cycle == 0)
                for name in Datapath.COUNTS:
                    counts[name] += ctx.get(dut.counts[name])
                if ctx.get(dut.finished):
                    done = cycle
                await ctx.tick()
                cycle += 1
                assert cycle < 5000
            pipeline = Pipeline(HW, gang, 0, None, Sink(), "layer")
            assert done == pipeline.run(linear_items(fields, rows, None, HW, gang))
            for name in pipeline.counters:
                assert counts[name] == pipeline.counters[name], name
        put(ctx, dut.descriptor, pack(DESCRIPTOR, {"opcode": Opcode.STORE, "beats": rows,
                                                   "rows": 1}))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        stored = []
        for cycle in range(40):
            ctx.set(dut.stored.ready, cycle % 3 == 0)
            if ctx.get(dut.stored.valid) and cycle % 3 == 0:
                stored.append([ctx.get(dut.stored.p.data[n]) for n in range(P)])
            await ctx.tick()
        assert stored == expected[1].tolist()

    simulate(dut, bench)
