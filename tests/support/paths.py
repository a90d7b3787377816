"""Which output ports of a unit depend on which of its input ports in the same cycle.

The netlist is Amaranth's own, which is found faster than Yosys starts. Units inside a unit are
boxes in it, whose paths are found first.
"""

from collections.abc import Iterable

from amaranth.hdl import Fragment
from amaranth.hdl._ir import PortDirection, build_netlist
from amaranth.hdl._nir import FlipFlop, Instance, Net, Netlist, Operator
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from deltamoe.boards.synthesis.units import boxed
from deltamoe.rtl.generate import ports

Bit = tuple[str, int]
"""A bit of a port: the port's name, and which bit."""

Bits = dict[Bit, set[Bit]]
"""The bits of inputs that each bit of an output depends on."""

Paths = dict[str, set[str]]
"""The inputs that each output depends on, as :func:`named`; outputs with none are left out."""

BY_CARRY = ("+", "-")
"""Operators where bit ``n`` of the result depends on the bits up to ``n``."""


def combinational_paths(unit: wiring.Component) -> Paths:
    """Return the input ports that logic without registers joins to each output port.

    The graph is that of single bits where an operator works on single bits, and that of whole
    operands elsewhere, so a pair may be reported that no input values can show; none is missed.
    """
    return paths_of_units(unit, ())[type(unit).__name__]


def paths_of_units(top: wiring.Component, kinds: Iterable[type[wiring.Component]]
                   ) -> dict[str, Paths]:
    """Return the paths of ``top`` and of all units of ``kinds`` in it, by class.

    Those of several units of a class are put together.
    """
    kinds, found = tuple(kinds), {}

    def add(unit: wiring.Component) -> Bits:
        with boxed(unit, kinds, lambda box, number: str(number)) as boxes:
            fragment = Fragment.get(unit, None)
        netlist = build_netlist(fragment, ports={
            name: (value, PortDirection.Input if flow is In else PortDirection.Output)
            for name, flow, value in ports(unit)})
        bits = bits_of(netlist, [add(box) for box in boxes])
        paths = found.setdefault(type(unit).__name__, {})
        for (output, _), inputs in bits.items():
            if inputs:
                paths.setdefault(named(output), set()).update(named(port) for port, _ in inputs)
        return bits

    add(top)
    return found


def named(port: str) -> str:
    """Return a port's name as a record has it: members joined by dots, those of arrays as one."""
    return ".".join(member for member in port.split("__") if not member.isdigit())


def bits_of(netlist: Netlist, boxes: list[Bits]) -> Bits:
    """Return the paths of a netlist, given those of the boxes in it by number."""
    starts: dict[int, Bit] = {}
    for name, (first, width) in netlist.top.ports_i.items():
        for place in range(width):
            starts[Net.from_cell(0, first + place)] = name, place
    through = {(number, bit): nets for number, cell in enumerate(netlist.cells)
               if isinstance(cell, Instance)
               for bit, nets in through_box(cell, boxes[int(cell.type)]).items()}

    def sources(net: Net) -> Iterable[Net]:
        if net.is_const or isinstance(cell := netlist.cells[net.cell], FlipFlop):
            return ()
        if isinstance(cell, Instance):
            return through[net.cell, net.bit]
        if isinstance(cell, Operator) and cell.operator in BY_CARRY:
            return [bit for operand in cell.inputs for bit in operand[:net.bit + 1]]
        return [source for source, _ in cell.comb_edges_to(net.bit)]

    return {(name, place): {starts[found] for found in cone(net, sources) if found in starts}
            for name, value in netlist.top.ports_o.items() for place, net in enumerate(value)}


def through_box(cell: Instance, bits: Bits) -> dict[int, list[Net]]:
    """Return the nets that each output bit of a box depends on."""
    return {first + place: [cell.ports_i[pin][bit] for pin, bit in bits.get((name, place), ())]
            for name, (first, width) in cell.ports_o.items() for place in range(width)}


def cone(net: Net, sources) -> set[Net]:
    """Return all nets that ``net`` depends on within a cycle, itself included."""
    seen, pending = set(), [net]
    while pending:
        following = pending.pop()
        if following not in seen:
            seen.add(following)
            pending += sources(following)
    return seen
