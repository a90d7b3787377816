"""The memories that a store reads."""

import numpy as np
from amaranth import Value

from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.memory.store_ports import StorePorts
from deltamoe.rtl.program import Target
from tests.support.bench import drive, simulate
from tests.support.cases import HW, P


def test_store_ports_choose_one_of_four_beats(seed: int) -> None:
    """A beat comes ``Residual.READ`` cycles after its address, whatever is asked for then."""
    rng = np.random.default_rng(seed)
    dut, most = StorePorts(HW), 1 << HW.acc_width - 1
    residual, sums = rng.integers(-(1 << 15), 1 << 15, P), rng.integers(-most, most, P)
    low, high, other = rng.integers(0, 1 << 8, (3, P))
    wide = sums.astype("<i4").tobytes()

    async def read(ctx, target: Target, half: int, port, data, granted: int = 1) -> None:
        """Ask for a word of a memory that answers when it does."""
        drive(ctx, dut.store, running=1, target=target, half=half, address=5)
        ctx.set(dut.rows.address, 9)
        ctx.set(port.granted, granted)
        assert ctx.get(port.address) == 5
        await ctx.tick()
        assert ctx.get(dut.store.granted) == granted
        drive(ctx, dut.store, running=1, target=target, half=1, address=6)
        for n in range(P):
            ctx.set(port.data[n], 0 if port is dut.residual else int(data[n]))
        await ctx.tick()
        for n in range(P):
            ctx.set(port.data[n], 0)
        await ctx.tick().repeat(Residual.READ - 2)
        for n in range(P):
            ctx.set(port.data[n], int(data[n]) if port is dut.residual else 0)

    async def bench(ctx):
        def beat() -> bytes:
            return ctx.get(dut.store.data).to_bytes(HW.bus_bytes, "little")

        await read(ctx, Target.RESIDUAL, 0, dut.residual, residual)
        assert beat() == residual.astype("<i2").tobytes()
        for half in range(2):
            await read(ctx, Target.STATE, half, dut.sums, sums)
            assert beat() == wide[half * HW.bus_bytes :][: HW.bus_bytes]
        for words, granted in ((low, 1), (other, 0), (high, 1)):
            await read(ctx, Target.REFERENCE, words is not low, dut.references, words, granted)
        assert beat() == low.astype(np.uint8).tobytes() + high.astype(np.uint8).tobytes()
        await read(ctx, Target.RESIDUAL, 0, dut.residual, residual, granted=0)
        drive(ctx, dut.store, target=Target.RESIDUAL)
        assert ctx.get(dut.residual.address) == 9, "nobody stores"
        assert ctx.get(Value.cast(dut.rows.data)) == int.from_bytes(
            residual.astype("<i2").tobytes(), "little")

    simulate(dut, bench)
