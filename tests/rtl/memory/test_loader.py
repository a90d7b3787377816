"""The loader places what a transfer brings."""

import numpy as np
import pytest
from amaranth import Value

from deltamoe.rtl.control.walker import Walker
from deltamoe.rtl.formats import TRANSFER
from deltamoe.rtl.memory.loader import Loader
from deltamoe.rtl.program import (
    DESCRIPTOR_BYTES,
    Load,
    Target,
)
from tests.support.bench import get, put, simulate
from tests.support.case import encoded, pack
from tests.support.cases import HW, P

BITS = 8 * HW.bus_bytes


def transferring(load: Load) -> int:
    """Encode the transfer of a load as the integer on its wires."""
    return pack(TRANSFER, {"into": 1 << load.target}) | encoded(load)


def test_loader_places_weights_for_every_span(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth, columns = 5, 3 * HW.lanes
    weight = rng.integers(-127, 128, (columns, depth))
    beats = weight.reshape(3, HW.lanes, depth).swapaxes(1, 2).astype(np.int8).reshape(
        -1, HW.bus_bytes)
    for index, span in enumerate(HW.gangs):
        dut, memory = Loader(HW), {}

        async def bench(ctx, dut=dut, memory=memory, index=index):
            weight = dut.loads.weight
            put(ctx, dut.transfer.payload, transferring(Load(
                target=Target.WEIGHTS, base=9, tile_rows=depth, span=index)))
            ctx.set(dut.i.valid, 1)
            assert not ctx.get(dut.i.ready), "no load is expected yet"
            ctx.set(dut.transfer.valid, 1)
            for number, beat in enumerate(beats):
                put(ctx, dut.i.payload, int.from_bytes(beat.tobytes(), "little")
                    | (number == len(beats) - 1) << 8 * HW.bus_bytes)
                ctx.set(dut.i.valid, 1)
                assert ctx.get(dut.transfer.ready) == (number == len(beats) - 1)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
                assert ctx.get(dut.loads.weight.en)
                for group in range(HW.groups):
                    if ctx.get(weight.groups) >> group & 1:
                        memory[group, ctx.get(weight.address)] = [
                            ctx.get(weight.data[n]) for n in range(HW.lanes)]

        simulate(dut, bench)
        for tile in range(3):
            for k in range(depth):
                for group in range(tile % span, HW.groups, span):
                    row = 9 + tile // span * depth + k
                    assert memory[group, row] == weight[tile * HW.lanes :, k][: HW.lanes].tolist()


def test_loader_places_the_program_and_the_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 256, 3 * DESCRIPTOR_BYTES, np.uint8)
    table = rng.integers(0, 256, 4 * HW.bus_bytes, np.uint8)
    dut = Loader(HW)

    async def feed(ctx, content, watch) -> int:
        """Return the cycles that the load took."""
        beats, cycles = content.reshape(-1, HW.bus_bytes), 0
        ctx.set(dut.transfer.valid, 1)
        for number, beat in enumerate(beats):
            put(ctx, dut.i.payload, int.from_bytes(beat.tobytes(), "little")
                | (number == len(beats) - 1) << 8 * HW.bus_bytes)
            ctx.set(dut.i.valid, 1)
            taken = False
            while not taken:
                watch(ctx)
                taken = ctx.get(dut.i.ready)
                await ctx.tick()
                cycles += 1
        ctx.set(dut.i.valid, 0)
        watch(ctx)
        return cycles

    async def bench(ctx):
        words, entries = {}, {}
        put(ctx, dut.transfer.payload, pack(TRANSFER, {"program": 1}))
        await feed(ctx, code, lambda ctx: ctx.get(dut.code.en) and words.update({
            ctx.get(dut.code.address): get(ctx, dut.code.data)}))
        beats = code.reshape(-1, HW.bus_bytes)
        placed = {n: int.from_bytes(beat.tobytes(), "little") for n, beat in enumerate(beats)}
        assert words == placed
        words.clear()
        put(ctx, dut.transfer.payload, transferring(Load(target=Target.PROGRAM, base=5)))
        await feed(ctx, code, lambda ctx: ctx.get(dut.code.en) and words.update({
            ctx.get(dut.code.address): get(ctx, dut.code.data)}))
        assert words == {5 * Walker.parts(HW) + n: value for n, value in placed.items()}
        put(ctx, dut.transfer.payload, transferring(Load(target=Target.TABLE, bank=1)))
        cycles = await feed(ctx, table, lambda ctx: ctx.get(dut.loads.table.en) and entries.update({
            ctx.get(dut.loads.table.address): ctx.get(dut.loads.table.data)}))
        assert cycles == table.size, "an entry a cycle"
        assert entries == {1024 + n: int(value) for n, value in enumerate(table)}
        put(ctx, dut.transfer.payload, pack(TRANSFER, {"skip": 1}))
        assert ctx.get(dut.transfer.ready), "a skipped load needs no beat"

    simulate(dut, bench)


@pytest.mark.parametrize("target", [Target.STATE, Target.REFERENCE])
def test_loader_places_what_is_kept(target: Target, seed: int) -> None:
    """Word by word, whenever nobody else writes there."""
    rng = np.random.default_rng(seed)
    beats = rng.integers(0, 1 << 62, 8).tolist()
    whole = b"".join(beat.to_bytes(HW.bus_bytes, "little") for beat in beats)
    size = 4 * P if target == Target.STATE else P
    expected = [(30 + n, int.from_bytes(whole[n * size :][:size], "little"))
                for n in range(len(whole) // size)]
    dut = Loader(HW)

    async def bench(ctx):
        put(ctx, dut.transfer.payload, transferring(Load(target=target, base=30)))
        ctx.set(dut.transfer.valid, 1)
        kept = dut.loads.kept
        port = kept.state if target == Target.STATE else kept.reference
        placed, number, cycles = [], 0, 0
        while number < len(beats):
            put(ctx, dut.i.payload, beats[number] | (number == len(beats) - 1) << BITS)
            ctx.set(dut.i.valid, 1)
            ctx.set(port.free, int(rng.integers(2)))
            if ctx.get(port.en):
                assert ctx.get(port.free), "someone else writes"
                placed.append((ctx.get(port.address), ctx.get(Value.cast(port.data))))
            taken = ctx.get(dut.i.ready)
            assert ctx.get(dut.transfer.ready) == (taken and number == len(beats) - 1)
            number += taken
            cycles += 1
            assert cycles < 200
            await ctx.tick()
        assert placed == expected

    simulate(dut, bench)


def test_what_is_written_from_registers_comes_a_cycle_after_its_beat(seed: int) -> None:
    """Loads one behind the other, with pauses; nothing on the wires but beats means anything."""
    rng, dut = np.random.default_rng(seed), Loader(HW)
    span, tile_rows = HW.gangs[1], 2
    weights = Load(target=Target.WEIGHTS, base=9, tile_rows=tile_rows, span=1)
    loads = [(Load(target=Target.RESIDUAL, base=10), 4), (Load(target=Target.IMAGE, base=40), 5),
             (weights, 2 * span * tile_rows), (Load(target=Target.RESIDUAL, base=30), 3),
             (weights, (span + 1) * tile_rows), (weights, 1)]
    ports = {Target.RESIDUAL: dut.loads.residual, Target.IMAGE: dut.loads.image,
             Target.WEIGHTS: dut.loads.weight}

    def place(load: Load, beat: int) -> int:
        if load.target == Target.WEIGHTS:
            tile, row = divmod(beat, tile_rows)
            return load.base + tile // span * tile_rows + row
        return load.base // (2 if load.target == Target.IMAGE else 1) + beat

    async def bench(ctx):
        ctx.set(dut.transfer.valid, 1)
        for load, count in loads:
            beat = 0
            while beat < count:
                put(ctx, dut.transfer.payload, transferring(load))
                value, comes = int.from_bytes(rng.bytes(HW.bus_bytes), "little"), rng.random() < 0.6
                put(ctx, dut.i.payload, value | (beat == count - 1) << BITS)
                ctx.set(dut.i.valid, int(comes))
                assert ctx.get(dut.i.ready)
                await ctx.tick()
                put(ctx, dut.transfer.payload, transferring(Load(target=Target.NORM, base=1)))
                put(ctx, dut.i.payload, 0)
                ctx.set(dut.i.valid, 0)
                assert {target for target, port in ports.items() if ctx.get(port.en)} == (
                    {load.target} if comes else set())
                if comes:
                    port = ports[load.target]
                    assert ctx.get(port.address) == place(load, beat)
                    assert get(ctx, port.data) == value
                    if load.target == Target.WEIGHTS:
                        assert ctx.get(port.groups) == sum(
                            1 << n for n in range(HW.groups)
                            if n % span == beat // tile_rows % span)
                beat += comes

    simulate(dut, bench)
