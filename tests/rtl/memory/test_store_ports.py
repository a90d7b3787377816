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


KINDS = {Target.RESIDUAL: "<i2", Target.STATE: "<i4", Target.REFERENCE: "u1"}
"""What an element of each memory is in a beat."""


def test_store_ports_choose_anew_in_each_cycle(seed: int) -> None:
    """Any address, half and grant behind any other, of a memory that is chosen for some cycles."""
    rng, dut, most = np.random.default_rng(seed), StorePorts(HW), 1 << HW.acc_width - 1
    ports = {Target.RESIDUAL: dut.residual, Target.STATE: dut.sums,
             Target.REFERENCE: dut.references}
    chosen = [Target(int(rng.choice(list(ports)))) for _ in range(60)]
    halves = rng.integers(2, size=600).tolist()
    parts: dict[int, bytes] = {}
    checked = dict.fromkeys(ports, 0)

    def beat(asked: int) -> bytes | None:
        """Return the beat that was asked for in a cycle, if one was."""
        target, time = chosen[asked // 10], asked % 10
        if time >= 10 - Residual.READ:
            return None
        if target != Target.REFERENCE:
            return parts[asked]
        lower = max((n for n in range(asked - time, asked + 1) if not halves[n]), default=asked)
        return parts[lower] + parts[asked] if lower < asked else None

    async def bench(ctx):
        told = None
        for cycle in range(600):
            running, target = bool(rng.random() < 0.8), chosen[cycle // 10]
            address, other = rng.integers(HW.reference_words, size=2).tolist()
            drive(ctx, dut.store, running=running, target=target, half=halves[cycle],
                  address=address)
            ctx.set(dut.rows.address, other % HW.residual_words)
            words = {Target.RESIDUAL: rng.integers(-(1 << 15), 1 << 15, P),
                     Target.STATE: rng.integers(-most, most, P),
                     Target.REFERENCE: rng.integers(0, 1 << 8, P)}
            granted = {kind: bool(rng.integers(2)) for kind in ports}
            for kind, port in ports.items():
                ctx.set(port.granted, granted[kind])
                for n in range(P):
                    ctx.set(port.data[n], int(words[kind][n]))
            raw = {kind: word.astype(KINDS[kind]).tobytes() for kind, word in words.items()}

            for kind, port in ports.items():
                mine = kind != Target.RESIDUAL or (running and target == kind)
                assert ctx.get(port.address) == (address if mine else other) % (1 << len(
                    port.address))
            assert ctx.get(dut.rows.granted) == granted[Target.RESIDUAL]
            assert [ctx.get(dut.rows.data[n]) for n in range(P)] == words[Target.RESIDUAL].tolist()
            if cycle % 10:
                upper = halves[cycle - 1] * HW.bus_bytes if target == Target.STATE else 0
                parts[cycle - 1] = raw[target][upper : upper + HW.bus_bytes]
            asked = cycle - Residual.READ
            if asked >= 0:
                kind = chosen[asked // 10]
                parts[asked] = raw[kind] if kind == Target.RESIDUAL else parts.get(asked, b"")
                expected = beat(asked)
                if expected is not None:
                    assert ctx.get(dut.store.data).to_bytes(HW.bus_bytes, "little") == expected
                    checked[kind] += 1
            if told is not None:
                assert ctx.get(dut.store.granted) == told
            told = granted[target]
            await ctx.tick()

    simulate(dut, bench)
    assert min(checked.values()) > 20
