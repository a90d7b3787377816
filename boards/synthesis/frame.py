"""A unit between registers, so that the paths through its ports count as much as those inside."""

from amaranth import ClockDomain, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from deltamoe.rtl.generate import ports

CLOCK = "aclk"
"""Port by which a unit that makes its own domain takes its clock."""


class Frame(wiring.Component):
    """Put a register on each port of ``unit`` but its clock.

    Members
    -------
    Those of ``unit``, one cycle later each; the clock, if it has one, is the frame's too.
    """

    def __init__(self, unit: wiring.Component) -> None:
        self.unit = unit
        super().__init__(unit.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        domain = "sync"
        if CLOCK in self.signature.members:
            domain = "frame"
            m.domains.frame = own = ClockDomain(domain, reset_less=True)
            m.d.comb += own.clk.eq(self.aclk)
        for (name, flow, inner), (_, _, outer) in zip(ports(self.unit), ports(self), strict=True):
            m.d["comb" if name == CLOCK else domain] += (
                inner.eq(outer) if flow is In else outer.eq(inner))

        return m
