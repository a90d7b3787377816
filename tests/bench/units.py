"""All stream units side by side in one module, so that one Verilator build tests them all."""

from amaranth import Module
from amaranth.lib import wiring

from tests.support.cases import MAKERS, make


class Units(wiring.Component):
    """Every unit of the cases; its ports carry the case's name before theirs."""

    def __init__(self) -> None:
        self.units = {name: make(name, 0).make() for name in MAKERS}
        super().__init__({
            f"{name}_{port}": member for name, unit in self.units.items()
            for port, member in unit.signature.members.items()
        })

    def elaborate(self, platform):
        m = Module()
        for name, unit in self.units.items():
            m.submodules[name] = unit
            for port, member in unit.signature.members.items():
                outer, inner = getattr(self, f"{name}_{port}"), getattr(unit, port)
                if member.is_signature:
                    wiring.connect(m, wiring.flipped(outer), inner)
                elif member.flow is wiring.In:
                    m.d.comb += inner.eq(outer)
                else:
                    m.d.comb += outer.eq(inner)
        return m
