"""Hardware at and beyond its limits: what is refused, and that all of what is not is reached."""

from dataclasses import replace
from enum import IntEnum

import numpy as np
import pytest
import torch
from amaranth.back import rtlil
from amaranth.hdl import Fragment

from deltamoe.boards import PRESETS
from deltamoe.golden.arithmetic.linear import linear
from deltamoe.golden.arithmetic.requantize import requantize
from deltamoe.golden.library import find
from deltamoe.golden.numerics import SCORE
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.compiler import linker
from deltamoe.rtl.compiler.entry import compile_program
from deltamoe.rtl.compiler.placement import place
from deltamoe.rtl.config import FIELD, MAXIMA, HwConfig
from deltamoe.rtl.control.checks.descriptor import Checks
from deltamoe.rtl.datapath import Datapath
from deltamoe.rtl.formats import STORING, event
from deltamoe.rtl.linear.attention_items import Cursor
from deltamoe.rtl.linear.lane_group import LaneGroup
from deltamoe.rtl.linear.worker import Worker
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.program import (
    KINDS,
    Attention,
    Descriptor,
    Dest,
    Field,
    Linear,
    Mode,
    Operator,
    Source,
    Target,
    layout,
    unpack,
)
from deltamoe.rtl.program import pack as encode
from tests.support.bench import drive, put, simulate
from tests.support.case import encoded, pack
from tests.support.datapath import load_weights, read_residual, run, write

NANO = PRESETS["nano"]
SLOW = pytest.mark.slow
MEMORIES = [name for name, (most, _) in MAXIMA.items() if most == FIELD and name != "queue_words"]
TALL = replace(NANO, name="tall", groups=2, banks=2, max_top_k=2, attention_lag=1,
               **dict.fromkeys(MEMORIES, FIELD))
"""A small accelerator whose memories are all as deep as a descriptor can say."""
LARGEST = replace(TALL, max_tokens=FIELD // 8, max_depth=FIELD - 1, queue_words=FIELD // 4,
                  max_embed=2048, max_experts=128, max_top_k=15, banks=256, attention_lag=255,
                  outstanding=256, burst_beats=256)
STATELESS = {"state_words": 0, "reference_words": 0}
SMALLEST = replace(NANO, groups=1, banks=2, attention_lag=1, queue_words=1, max_tokens=1,
                   max_embed=4, max_depth=1, max_experts=1, max_top_k=1, weight_rows=1, kv_rows=1,
                   act_words=4, normed_words=1, residual_words=4, state_words=1, reference_words=1,
                   param_words=1, norm_words=1, program_depth=4, burst_beats=1, outstanding=1)


@pytest.mark.parametrize(("kind", "field"), [
    pytest.param(kind, field, id=f"{kind.__name__}-{field.name}")
    for kind in KINDS for field in layout(kind)[1:]])
def test_fields_hold_no_more_than_their_width(kind: type[Descriptor], field: Field) -> None:
    """Their bits are theirs alone, and what is packed is what is unpacked."""
    most = (1 << field.width) - 1
    assert encoded(kind(**{field.name: most})) == kind.opcode | most << field.offset
    largest = kind(**{field.name: max(field.kind) if issubclass(field.kind, IntEnum) else
                      field.kind(most)})
    assert unpack(encode(largest)) == largest
    for value in (most + 1, -1):
        with pytest.raises(ValueError, match=f"^descriptor field {field.name}={value} is not in "):
            encode(kind(**{field.name: value}))


@pytest.mark.parametrize("raw", [b"\0" * 64, b"\x0f" + b"\0" * 63], ids=["zero", "fifteen"])
def test_bytes_of_no_opcode_are_no_descriptor(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not a valid Opcode$"):
        unpack(raw)


def test_programs_have_no_more_descriptors_than_the_hardware_counts(monkeypatch) -> None:
    """An error names the layer and the field, or the frames."""
    monkeypatch.setattr(linker, "FIELD", 100)
    with pytest.raises(ValueError, match=r"^digits: a program for 2 frames has \d+ descriptors, "
                                         r"more than the 99 that the hardware counts$"):
        compile_program(find("digits").quantized, NANO, frames=2)
    with pytest.raises(ValueError, match=r"^fc: descriptor field heads=256 is not in 0..255$"):
        linker.encode("fc", Linear(heads=256))


@pytest.mark.parametrize("name", MAXIMA)
def test_more_than_the_maximum_is_refused_by_name(name: str) -> None:
    most, reason = MAXIMA[name]
    with pytest.raises(ValueError, match=f"^{name}={most + 1} is not at most {most}: {reason}$"):
        replace(NANO, **{name: most + 1})


@pytest.mark.parametrize(("changes", "message"), [
    ({"max_experts": 300}, "max_experts=300 is not at most 255: "),
    ({"max_top_k": 20}, "max_top_k=20 is not at most 15: "),
    ({"act_words": 1 << 17}, "act_words=131072 is not at most 65536: "),
    ({"max_experts": 129}, "max_experts=129 is not at most 128 with state_words: "),
    ({"max_tokens": 16384, "max_depth": 16384, "queue_words": 4096},
     "max_tokens=16384 is not at most 8192 with state_words: "),
    ({"max_embed": 3}, "max_embed=3 is below a word of 4$"),
    ({"program_depth": 2}, "program_depth=2 is not at least 4: "),
    ({"lanes": 128}, "lanes=128 is not 8, 16, 32 or 64$"),
    ({"acc_width": 33}, "acc_width=33 is not in 18..32$"),
    ({"read_words": 8}, "read_words=8 is not 1, 2 or 4$"),
    ({"attention_lag": 2}, "attention_lag=2 is not a power of two minus one$"),
    ({"attention_lag": -1}, "attention_lag=-1 is not a positive integer$"),
    ({"groups": True}, "groups=True is not a positive integer$"),
    ({"memory_ports": 3}, "memory_ports=3 is not 1, 2 or 4, with at least 4 bytes each of lanes=8"),
    ({"memory_ports": 4}, "memory_ports=4 is not 1, 2 or 4, with at least 4 bytes each of lanes=8"),
    ({"memory_ports": 2, "burst_beats": 12}, "burst_beats=12 is not a power of two in 2..256: "),
    ({"memory_ports": 2, "burst_beats": 1}, "burst_beats=1 is not a power of two in 2..256: "),
    ({"memory_ports": 2, "lanes": 64, "burst_beats": 256},
     "burst_beats=256 is not a power of two in 2..128: "),
])
def test_impossible_hardware_is_refused_by_name(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(NANO, **changes)


@pytest.mark.parametrize("hw", [
    LARGEST, replace(NANO, max_experts=255, max_tokens=FIELD // 2, max_depth=FIELD // 2,
                     queue_words=FIELD, **STATELESS),
    replace(SMALLEST, memory_ports=2, burst_beats=2), replace(SMALLEST, **STATELESS),
    pytest.param(replace(SMALLEST, groups=32), marks=SLOW)],
    ids=["largest", "tokens", "ports", "stateless", "groups"])
def test_hardware_at_its_limits_elaborates(hw: HwConfig) -> None:
    waiting, count = [Fragment.get(Accelerator(hw), None)], 0
    while waiting:
        count += 1
        waiting += [Fragment.get(part, None) for part, *_ in waiting.pop().subfragments]
    assert count > 3 * hw.groups


@SLOW
def test_smallest_hardware_converts() -> None:
    """Addresses of no bits among it."""
    assert "attribute \\top" in rtlil.convert(Accelerator(SMALLEST))


def test_linear_reaches_the_last_word_of_every_memory(seed: int) -> None:
    """Weights, parameters, operands, kept sums, references and the residual stream."""
    rng = np.random.default_rng(seed)
    depth, columns = 2 * TALL.word, TALL.word
    weight = rng.integers(-127, 128, (columns, depth))
    bias = rng.integers(-500, 500, columns)
    placed, dut = place(depth, columns, TALL), Datapath(TALL)
    last = {"weight_base": FIELD - placed.rows, "param_base": FIELD - 1, "source_base": FIELD - 2,
            "dest_base": FIELD - 1, "state_base": FIELD - 1, "reference_base": FIELD - 2}
    layer = Linear(source=Source.ACT, dest=Dest.OUTPUT, rows=1, depth=depth, columns=columns,
                   operand_signed=True, mode=Mode.DELTA, **placed.fields(TALL), **last)

    async def bench(ctx):
        await load_weights(ctx, dut, weight, placed, last["weight_base"])
        await write(ctx, dut.loads.parameter, address=last["param_base"], data=[
            {"bias": int(item), "multiplier": 1 << 12} for item in bias])
        for frame in range(3):
            a = rng.integers(-128, 128, (1, depth))
            await write(ctx, dut.loads.image, address=last["source_base"] // 2,
                        data=int.from_bytes(a.astype(np.int8).tobytes(), "little"))
            await run(ctx, dut, replace(layer, fresh=frame == 0))
            total = linear(torch.tensor(a), torch.tensor(weight), torch.tensor(bias))
            assert await read_residual(ctx, dut, TALL, last["dest_base"]) == requantize(
                total, 1 << 12, 14, SCORE)[0].tolist()

    simulate(dut, bench)


@pytest.mark.parametrize("kv", [0, 1])
def test_events_reach_the_last_row(kv: int) -> None:
    """The first row of the memory holds something else."""
    dut = LaneGroup(TALL)
    rows = {0: [1] * TALL.lanes, FIELD - 1: list(range(TALL.lanes))}

    async def bench(ctx):
        for row, values in rows.items():
            if kv:
                for half in range(2):
                    drive(ctx, dut.kv, en=1 << half, address=row,
                        data=values[half * TALL.word :][: TALL.word])
                    await ctx.tick()
            else:
                drive(ctx, dut.weights, en=1, address=row, data=values)
                await ctx.tick()
        drive(ctx, dut.kv)
        drive(ctx, dut.weights)
        put(ctx, dut.i.payload, pack(event(TALL), {
            "delta": 3, "row": FIELD - 1, "kv": kv, "begin": 1, "flush": 1, "fresh": 1}))
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(Worker.LATENCY)
        for half in range(2):
            ctx.set(dut.sums.address, half)
            assert [~ctx.get(dut.sums.data[n]) for n in range(TALL.word)] == [
                3 * (half * TALL.word + n) for n in range(TALL.word)]

    simulate(dut, bench)


LINEAR = Linear(rows=2, depth=8, columns=16, passes=2, source_stride=2, dest_stride=4)
HEADS = {"heads": 200, "head_words": 2, "set_size": 1}
ATTENTION = Attention(rows=5, head_dim=8, **HEADS)
# 200 heads in one set of two groups: 1,600 rows of keys behind the first of 65,000
KEYS = replace(LINEAR, dest=Dest.KEY, columns=1600, **HEADS)


@pytest.mark.parametrize(("operator", "changes"), [
    (LINEAR, {"param_base": FIELD - 1}), (LINEAR, {"dest_base": FIELD - 1}),
    (LINEAR, {"source_base": FIELD - 1}), (LINEAR, {"weight_base": FIELD - 1}),
    (replace(LINEAR, dest=Dest.OUTPUT), {"dest_base": FIELD - 4}),
    (ATTENTION, {"param_base": FIELD - 199}), (ATTENTION, {"source_base": FIELD - 399}),
    (ATTENTION, {"dest_base": FIELD - 399}), (ATTENTION, {"key_base": FIELD - 1}),
    (ATTENTION, {"value_base": FIELD - 1}), (KEYS, {"dest_base": 65_000}),
], ids=str)
def test_no_range_wraps(operator: Operator, changes: dict[str, int]) -> None:
    """A range that begins near 2**16 and ends behind it is refused, and only for that."""
    dut = Checks(replace(TALL, max_embed=2048), loads=False)

    async def bench(ctx):
        for base in (False, True):
            put(ctx, dut.descriptor, encoded(replace(operator, **changes) if base else operator))
            found = []
            for step in range(dut.LATENCY + dut.steps):
                ctx.set(dut.step, step)
                if step >= dut.LATENCY:
                    found.append(ctx.get(dut.range_valid))
                await ctx.tick()
            assert ctx.get(dut.field_valid)
            assert found.count(False) == base

    simulate(dut, bench)


def test_rows_of_scores_are_more_than_16_bits_count() -> None:
    """258 tokens of 255 heads; the softmax numbers them all."""
    hw = replace(TALL, max_tokens=512, max_depth=512, queue_words=128)
    dut, tokens, heads = Cursor(hw), 258, 255

    async def bench(ctx):
        put(ctx, dut.descriptor, encoded(Attention(
            rows=tokens, heads=heads, head_words=1, set_size=1)))
        ctx.set(dut.elements, hw.word)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for _ in range(tokens * heads - 1):  # it steps in every second cycle at most
            ctx.set(dut.step, 1)
            await ctx.tick()
            ctx.set(dut.step, 0)
            await ctx.tick()
        assert ctx.get(dut.at.number) == tokens * heads - 1 > FIELD
        assert not ctx.get(dut.at.done)
        ctx.set(dut.step, 1)
        await ctx.tick()
        assert ctx.get(dut.at.done)

    simulate(dut, bench)


@SLOW
def test_store_reads_the_last_kept_sum() -> None:
    """Its second half is beat 131,071."""
    dut, beats, seen = StoreReader(TALL), 2 * FIELD, []

    async def bench(ctx):
        requests = dut.transfers.requests
        put(ctx, requests.payload, pack(STORING, {"target": Target.STATE, "beats": beats}))
        ctx.set(requests.valid, 1)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.read.granted, 1)
        await ctx.tick()
        ctx.set(dut.transfers.requests.valid, 0)
        await ctx.tick().repeat(beats - 8)
        for _ in range(16):
            seen.append((ctx.get(dut.read.address), ctx.get(dut.read.half)))
            await ctx.tick()

    simulate(dut, bench)
    assert (FIELD - 1, 1) in seen
    assert seen[0][0] > FIELD - 8
