"""A unit between registers, so that the paths through its ports count as much as those inside."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from deltamoe.rtl.generate import ports


class Frame(wiring.Component):
    """Put a register on each port of ``unit``.

    Members
    -------
    Those of ``unit``, one cycle later each.
    """

    def __init__(self, unit: wiring.Component) -> None:
        self.unit = unit
        super().__init__(unit.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        for (_, flow, inner), (_, _, outer) in zip(ports(self.unit), ports(self), strict=True):
            m.d.sync += inner.eq(outer) if flow is In else outer.eq(inner)

        return m
