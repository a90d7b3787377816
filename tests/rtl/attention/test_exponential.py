"""The exponential of softmax, at every distance."""

from deltamoe.golden.arithmetic.softmax import softmax
from deltamoe.rtl.attention.exponential import Exponential
from tests.support.bench import simulate
from tests.support.cases import tensor


def test_exponential_at_every_distance() -> None:
    distances = [*range(1024), 1500, 40000, 65535]
    expected = [int(softmax(tensor([32767, 32767 - d]))[0][1]) for d in distances]
    dut = Exponential()

    async def bench(ctx):
        ctx.set(dut.enable, 1)
        for distance, e in zip(distances, expected, strict=True):
            ctx.set(dut.distance, distance)
            await ctx.tick()
            assert ctx.get(dut.e) == e, distance
        ctx.set(dut.enable, 0)
        ctx.set(dut.distance, 0)
        await ctx.tick()
        assert ctx.get(dut.e) == expected[-1] != expected[0], "without enable, it moves"

    simulate(dut, bench)
    assert len(set(expected)) > 150
