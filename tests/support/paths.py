"""Which output ports of a unit depend on which of its input ports in the same cycle."""

import json
from collections import defaultdict

from amaranth.back import rtlil
from amaranth.lib import wiring

from deltamoe.boards.synthesis.yosys import run

SCRIPT = "read_rtlil top.il; hierarchy -top top; proc; flatten; opt_clean; write_json top.json"
BY_BIT = {"$not", "$and", "$or", "$xor", "$xnor", "$pos"}
"""Bit ``n`` of the result depends on bit ``n`` of the operands alone."""
BY_CARRY = {"$add", "$sub", "$neg"}
"""Bit ``n`` of the result depends on the bits up to ``n``."""
STARTS = {"$dff", "$meminit", "$meminit_v2", "$memwr_v2", "$check", "$print", "$scopeinfo"}
"""Cells through which nothing passes within a cycle."""

Driver = dict[int, list[int]]
"""The nets that a net depends on through one cell."""


def combinational_paths(unit: wiring.Component) -> set[tuple[str, str]]:
    """Return every pair of an input port and an output port that logic without registers joins.

    The graph is that of single bits where an operator works on single bits, and that of whole
    operands elsewhere, so a pair may be reported that no input values can show; none is missed.
    """
    text = rtlil.convert(unit, name="top", emit_src=False)
    top = json.loads(run(SCRIPT, {"top.il": text}, "top.json"))["modules"]["top"]
    drivers, ports = drivers_of(top["cells"]), top["ports"]
    inputs = {bit: name for name, port in ports.items() if port["direction"] == "input"
              for bit in port["bits"]}
    return {(inputs[bit], name) for name, port in ports.items() if port["direction"] == "output"
            for bit in cone(port["bits"], drivers) & inputs.keys()}


def cone(bits: list[int], drivers: Driver) -> set[int]:
    """Return all nets that ``bits`` depend on within a cycle, themselves included."""
    seen, pending = set(), list(bits)
    while pending:
        bit = pending.pop()
        if bit not in seen:
            seen.add(bit)
            pending += drivers.get(bit, ())
    return seen


def drivers_of(cells: dict) -> Driver:
    """Return what each net depends on; constants are left out."""
    drivers = defaultdict(list)
    for cell in cells.values():
        if cell["type"] in STARTS:
            continue
        pins, ways = cell["connections"], cell["port_directions"]
        for pin in (pin for pin, way in ways.items() if way == "output"):
            for place, net in enumerate(pins[pin]):
                drivers[net] += [bit for bit in operands(cell, pins, ways, place)
                                 if not isinstance(bit, str)]
    return drivers


def operands(cell: dict, pins: dict, ways: dict, place: int) -> list:
    """Return the nets that bit ``place`` of a cell's result depends on."""
    kind = cell["type"]
    if kind == "$memrd_v2":
        clocked = int(cell["parameters"]["CLK_ENABLE"], 2)
        return [] if clocked else pins["ADDR"] + pins["EN"]
    sources = [pins[pin] for pin, way in ways.items() if way == "input"]
    if kind in BY_BIT:
        return [bits[min(place, len(bits) - 1)] for bits in sources]
    if kind in BY_CARRY:
        return [bit for bits in sources for bit in bits[: place + 1]]
    if kind in {"$mux", "$pmux"}:
        return [pins["A"][place], *pins["B"][place :: len(pins["Y"])], *pins["S"]]
    return [bit for bits in sources for bit in bits]
