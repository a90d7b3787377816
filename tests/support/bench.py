"""Drive a unit that has no streams by a coroutine in Amaranth's simulator."""

from collections.abc import Awaitable, Callable

from amaranth import Value
from amaranth.lib import wiring
from amaranth.sim import Simulator


def simulate(dut: wiring.Component, bench: Callable[..., Awaitable[None]], *,
             clocked: bool = True) -> None:
    """Run ``bench(ctx)`` to its end."""
    simulator = Simulator(dut)
    if clocked:
        simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def put(ctx, port, value: int) -> None:
    """Set the wires of ``port``."""
    ctx.set(Value.cast(port), value)


def get(ctx, port) -> int:
    """Read the wires of ``port``."""
    return ctx.get(Value.cast(port))
