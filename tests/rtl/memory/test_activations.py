"""The memory of activations: words, rows, images."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.rtl.config import HwConfig, lower_half
from deltamoe.rtl.memory.activations import Activations
from tests.support.bench import drive, simulate
from tests.support.cases import HW, P


@pytest.mark.parametrize("hw", [HW, replace(HW, groups=16, read_words=4)], ids=["one", "four"])
def test_activations_hold_words_and_images(hw: HwConfig, seed: int) -> None:
    """Results are words, an image comes in beats of two; a row is read from any word of it."""
    rng = np.random.default_rng(seed)
    dut, half = Activations(hw), hw.act_row * lower_half(hw.act_words // hw.act_row)
    memory = np.zeros((hw.act_words, P), int)
    places = (0, hw.act_row, half - hw.act_row, half, hw.act_words - hw.act_row)

    async def read(ctx, address: int) -> list[int]:
        ctx.set(dut.read.address, address)
        await ctx.tick().repeat(Activations.READ)
        return [ctx.get(dut.read.data[n]) for n in range(P)]

    async def bench(ctx):
        for place in places:
            for word in range(place, place + hw.act_row, 2):
                memory[word : word + 2] = rng.integers(0, 256, (2, P))
                drive(ctx, dut.load, en=1, address=word // 2, data=int.from_bytes(
                    memory[word : word + 2].astype(np.uint8).tobytes(), "little"))
                await ctx.tick()
        for _ in range(40):
            written = rng.choice(places) + int(rng.integers(hw.act_row))
            loaded = rng.choice([p for p in places if (p < half) != (written < half)])
            memory[written] = rng.integers(0, 256, P)
            memory[loaded : loaded + 2] = rng.integers(0, 256, (2, P))
            drive(ctx, dut.write, en=1, address=int(written), data=memory[written].tolist())
            drive(ctx, dut.load, en=1, address=int(loaded) // 2, data=int.from_bytes(
                memory[loaded : loaded + 2].astype(np.uint8).tobytes(), "little"))
            await ctx.tick()
            drive(ctx, dut.write)
            drive(ctx, dut.load)
            for place in places:
                for word in range(place, place + hw.act_row):
                    assert await read(ctx, word) == memory[word].tolist()
                    if hw.read_words > 1 and word == place:
                        words = dut.read.beside[ctx.get(dut.read.upper)]
                        assert [[ctx.get(words[k][n]) for n in range(P)]
                                for k in range(hw.read_words - 1)] == (
                            memory[word + 1 : word + hw.read_words].tolist())

    simulate(dut, bench)


@pytest.mark.parametrize("hw", [HW, replace(HW, groups=16, read_words=4)], ids=["one", "four"])
def test_a_row_a_cycle_is_read(hw: HwConfig, seed: int) -> None:
    """Words of both halves, one behind the other, each with its own place in its row."""
    rng, size = np.random.default_rng(seed), hw.act_row
    dut, half = Activations(hw), size * lower_half(hw.act_words // size)
    words = [0, half, size, half + size, 1, half + 1, half - 1, half,
             *rng.permutation(hw.act_words)[:20].tolist()]
    memory = rng.integers(0, 256, (hw.act_words, P))

    async def bench(ctx):
        for row in {word // size for word in words}:
            for word in range(size * row, size * row + size):
                drive(ctx, dut.write, en=1, address=word, data=memory[word].tolist())
                await ctx.tick()
        drive(ctx, dut.write)
        read, beside = [], []
        for word in words + [0] * Activations.READ:
            ctx.set(dut.read.address, word)
            read.append([ctx.get(dut.read.data[n]) for n in range(P)])
            if hw.read_words > 1:
                others = dut.read.beside[ctx.get(dut.read.upper)]
                beside.append([[ctx.get(others[k][n]) for n in range(P)]
                               for k in range(hw.read_words - 1)])
            await ctx.tick()
        assert read[Activations.READ :] == memory[words].tolist()
        for word, others in zip(words, beside[Activations.READ :], strict=False):
            if word % size == 0:
                assert others == memory[word + 1 : word + hw.read_words].tolist()

    simulate(dut, bench)
