"""The datapath alone: write its memories, run an operator, read what it wrote."""

import numpy as np

from deltamoe.rtl.compiler.layout import weight_tiles
from deltamoe.rtl.compiler.placement import Placement
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.program import Dest, Linear, Operator, Target
from tests.support.bench import drive, put
from tests.support.case import encoded

LIMIT = 5000
"""Cycles after which an operator counts as stuck."""


async def write(ctx, port, **values) -> None:
    """Write one word through ``port``."""
    drive(ctx, port, en=1, **values)
    await ctx.tick()
    drive(ctx, port)


async def load_weights(ctx, dut: Datapath, weight: np.ndarray, placed: Placement,
                       base: int = 0) -> None:
    """Write int8 weights (N, K) to the groups that ``placed`` gives them to."""
    hw = dut.hw
    beats = weight_tiles(weight, hw, placed.gang, placed.split).reshape(-1, hw.lanes)
    for number, beat in enumerate(beats):
        tile, row = divmod(number, placed.rows)
        groups = sum(1 << g for g in range(hw.groups) if g % placed.span == tile % placed.span)
        await write(ctx, dut.loads.weight, data=beat.view(np.int8).tolist(), groups=groups,
                    address=base + tile // placed.span * placed.rows + row)


async def load_image(ctx, dut: Datapath, rows: np.ndarray) -> None:
    """Write rows of bytes to the activations, from word 0 on."""
    for number, beat in enumerate(rows.reshape(-1, dut.hw.lanes)):
        await write(ctx, dut.loads.image, address=number,
                    data=int.from_bytes(beat.astype(np.uint8).tobytes(), "little"))


async def load_parameters(ctx, dut: Datapath, bias: np.ndarray, multiplier: int) -> None:
    """Write biases (N), all with the same multiplier, from word 0 on."""
    for number, part in enumerate(bias.reshape(-1, dut.hw.word)):
        await write(ctx, dut.loads.parameter, address=number, data=[
            {"bias": int(item), "multiplier": multiplier} for item in part])


async def run(ctx, dut: Datapath, operator: Operator) -> None:
    """Run one operator until all of its results are written."""
    defers = isinstance(operator, Linear) and operator.dest in {Dest.KEY, Dest.GATE}
    over, starts = dut.draining.written, [dut.issue.operator.start]
    if defers:
        over, starts = dut.deferred.ended, [*starts, dut.deferred.operator.start]
    for signature in (dut.issue, dut.draining, dut.deferred):
        put(ctx, signature.operator.descriptor, encoded(operator))
    put(ctx, dut.issue.rows, operator.rows)
    for port in (dut.draining.active, dut.issue.released, *starts):
        ctx.set(port, 1)
    for _ in range(LIMIT):
        ends = ctx.get(over)
        await ctx.tick()
        for port in starts:
            ctx.set(port, 0)
        if ends:
            return
    raise AssertionError(f"stuck: {operator}")


async def read_residual(ctx, dut: Datapath, hw: HwConfig, address: int) -> list[int]:
    """Return the int16 elements of a word of the residual stream."""
    drive(ctx, dut.store, running=1, target=Target.RESIDUAL, address=address)
    await ctx.tick()
    assert ctx.get(dut.store.granted)
    await ctx.tick().repeat(Residual.READ - 1)
    raw = ctx.get(dut.store.data).to_bytes(2 * hw.word, "little")
    drive(ctx, dut.store)
    return np.frombuffer(raw, "<i2").tolist()
