"""Drive a unit that has no streams by a coroutine in Amaranth's simulator."""

from collections.abc import Awaitable, Callable

from amaranth import Value
from amaranth.hdl import Fragment
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from amaranth.sim import Simulator

from tests.support.case import pack


def simulate(dut: wiring.Component | Fragment, bench: Callable[..., Awaitable[None]], *,
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


def drive(ctx, port, **values) -> None:
    """Set what the unit reads of an interface; what is not named becomes 0."""
    read = {name: getattr(port, name) for name, member in port.signature.members.items()
            if member.flow is In}
    assert values.keys() <= read.keys()
    for name, wires in read.items():
        value = values.get(name, 0)
        put(ctx, wires, pack(wires.shape(), value) if value and isinstance(wires, data.View)
            else value)


def get(ctx, port) -> int:
    """Read the wires of ``port``."""
    return ctx.get(Value.cast(port))
