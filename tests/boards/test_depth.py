"""LUT levels: of each kind of cell, through units, and of circuits whose levels are known."""

import json
from collections import defaultdict

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from deltamoe.boards import PRESETS
from deltamoe.boards.synthesis import levels
from deltamoe.boards.synthesis.depth import Depth, depth
from deltamoe.boards.synthesis.levels import Cell, ways
from deltamoe.boards.synthesis.parts import PARTS
from deltamoe.boards.synthesis.units import UNITS
from deltamoe.boards.synthesis.yosys import sources, unit_netlist, unit_netlist_script
from deltamoe.rtl.generate import to_verilog
from deltamoe.rtl.linear.event_encoder import EventEncoder
from deltamoe.rtl.writeback.requantize import Requantize
from tests.scripts import test_cli


def cell(kind: str, inputs: dict, outputs: dict, **parameters: str) -> dict:
    """A cell as Yosys writes it."""
    return {"type": kind, "parameters": parameters,
            "port_directions": dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output"),
            "connections": inputs | outputs}


def lut(target: int, *sources: int) -> dict:
    return cell("LUT4", {"ABCD"[n]: [net] for n, net in enumerate(sources)}, {"Z": [target]})


def register(source: int, target: int) -> dict:
    return cell("TRELLIS_FF", {"CLK": [0], "DI": [source]}, {"Q": [target]})


def module(cells: dict, inputs: dict | None = None, outputs: dict | None = None) -> dict:
    ports = {name: {"direction": direction, "bits": bits}
             for direction, found in (("input", inputs or {}), ("output", outputs or {}))
             for name, bits in found.items()}
    return {"ports": ports, "cells": cells}


def test_levels_are_those_of_the_longest_way() -> None:
    """A register, two LUTs in a row and one beside them, a register."""
    found = depth({"Top": module({
        "a_TRELLIS_FF_Q": register(9, 1), "one": lut(2, 1), "two": lut(3, 2, 1),
        "b_TRELLIS_FF_Q_3": register(3, 4)})}, "Top")
    assert found.levels == 2
    assert [(path.start.name, path.end.name) for path in found.paths] == [("a", "b")]
    assert found.ends == {2: 1}


def test_paths_go_through_units_and_name_them() -> None:
    """Out of one unit, by a wire through another, into a third."""
    found = depth({
        "Top": module({
            "first": cell("Source", {}, {"o": [1, 2]}),
            "wire": cell("Wire", {"i": [2]}, {"o": [3]}),
            "last_1": cell("Sink", {"i": [3]}, {}), "last_2": cell("Sink", {"i": [1]}, {})}),
        "Source": module({"x": register(7, 5), "y": lut(6, 5)}, outputs={"o": [5, 6]}),
        "Wire": module({}, {"i": [4]}, {"o": [4]}),
        "Sink": module({"z": lut(8, 3), "w": register(8, 9)}, {"i": [3]})}, "Top")
    assert [(path.levels, path.start.name, path.end.name) for path in found.paths] == [
        (2, "first.x", "last_1.w")]     # last_2.w is the same register but for numbers
    assert found.paths[0].units == [("Source", 1), ("Wire", 0), ("Sink", 1)]
    assert found.units == {"Sink": 2}
    assert found.ends == {2: 1, 1: 1}


def test_outputs_that_depend_on_inputs_have_the_levels_between() -> None:
    """By two LUTs, by the wire of a unit, from a register; the last depends on no input."""
    found = depth({
        "Top": module({
            "wire": cell("Wire", {"i": [1]}, {"o": [4]}), "one": lut(3, 1), "two": lut(5, 3, 2),
            "held": register(3, 6), "three": lut(7, 6)},
            {"i": [1], "a__b": [2]}, {"x": [4], "y__0": [3], "y__1": [5], "z": [7]}),
        "Wire": module({}, {"i": [4]}, {"o": [4]})}, "Top")
    assert found.combinational == {"Top": {"x": 0, "y": 2}, "Wire": {"o": 0}}


def test_a_loop_of_logic_is_an_error() -> None:
    with pytest.raises(ValueError, match="ends in itself"):
        depth({"Top": module({"a": register(9, 1), "one": lut(2, 1, 3), "two": lut(3, 2),
                              "b": register(3, 4)})}, "Top")


def test_an_unknown_cell_is_an_error() -> None:
    with pytest.raises(ValueError, match="of the cell ALU54B"):
        depth({"Top": module({"a": cell("ALU54B", {"A": [1]}, {"R": [2]})})}, "Top")


def through(kind: str, inputs: dict, outputs: dict, **parameters: str) -> levels.Ways:
    return ways(Cell(kind, kind, inputs, outputs, parameters))


def test_a_carry_chain_costs_little_inside() -> None:
    found = through("CCU2C", {"A0": [1], "CIN": [2]}, {"S0": [3], "COUT": [4]})
    assert set(found.through) == {
        (1, 3, levels.CARRY_OUT), (1, 4, levels.CARRY_IN), (2, 3, levels.CARRY_OUT),
        (2, 4, levels.CARRY_ALONG)}


def test_only_the_select_of_a_multiplexer_comes_by_a_wire() -> None:
    found = through("PFUMX", {"ALUT": [1], "BLUT": [2], "C0": [3]}, {"Z": [4]})
    assert set(found.through) == {(1, 4, levels.MUX), (2, 4, levels.MUX), (3, 4, 1)}


@pytest.mark.parametrize(("parameters", "expected"), [
    ({"DOA_REG": "0", "DOB_REG": "1"}, [(3, 2.5), (4, 0.7)]),
    ({"DOA_REG": "1", "DOB_REG": "0"}, [(3, 0.7), (4, 2.5)]),
])
def test_each_port_of_a_block_memory_has_its_register(parameters, expected) -> None:
    found = through("RAMB36E2", {"ADDRARDADDR": [1], "CLKARDCLK": [2]},
                    {"DOUTADOUT": [3], "DOUTBDOUT": [4]}, **parameters)
    assert (found.starts, found.ends, found.through) == (expected, [(1, 0)], [])


@pytest.mark.parametrize(("registers", "product", "sum_of", "starts"), [
    ("", (1, 3, 4.0), (2, 3, 1.5), None),
    ("PREG", 4.0, 1.5, 0),
    ("MREG", 2.5, None, 1.5),
    ("MREG PREG", 2.5, 1.5, 0),
    ("AREG BREG CREG MREG PREG", 0.0, 0.0, 0),
])
def test_a_dsp_counts_up_to_its_first_register(registers, product, sum_of, starts) -> None:
    """From A through the multiplier, and from C through the adder alone."""
    found = through("DSP48E2", {"A": [1], "C": [2]}, {"P": [3]}, AMULTSEL="A",
                    USE_MULT="MULTIPLY", **dict.fromkeys(registers.split(), "1"))
    for net, expected in ((1, product), (2, sum_of)):
        if isinstance(expected, tuple):
            assert expected in found.through
        elif expected is not None:
            assert (net, expected) in found.ends
    assert found.starts == ([] if starts is None else [(3, starts)])
    assert not [way for way in found.through if way[0] == 1] or not registers


@pytest.mark.parametrize(("unit", "multipliers"), [(Requantize, PRESETS["nano"].word),
                                                   (EventEncoder, 2)])
def test_multipliers_stand_between_registers(unit: type[wiring.Component], multipliers: int,
                                             ) -> None:
    """So that a tool which packs registers into a DSP48E2, as Yosys does not, finds them there."""
    part = PARTS["xcup"]
    files = sources(part, to_verilog(unit(PRESETS["nano"]), "top"), "", map_pairs=False)
    cells = unit_netlist(unit_netlist_script(part, map_pairs=False), files)["cells"].values()
    pins = defaultdict(set)
    for cell in cells:
        for pin, nets in cell["connections"].items():
            for net in nets:
                pins[net, cell["port_directions"][pin]].add((cell["type"], pin))
    found = [cell["connections"] for cell in cells if cell["type"] == "DSP48E2"]
    assert len(found) == multipliers
    for connections in found:
        factors = {net for net in (*connections["A"], *connections["B"]) if isinstance(net, int)}
        assert set.union(*(pins[net, "output"] for net in factors)) == {("FDRE", "Q")}
        assert set.union(*(pins[net, "input"] for net in connections["P"])) == {("FDRE", "D")}


class Parity(wiring.Component):
    """Parity of so many bits, between registers."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"i": In(width), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        held = Signal(self.width)
        m.d.sync += [held.eq(self.i), self.o.eq(held.xor())]
        return m


@pytest.mark.parametrize(("target", "inputs"), [("ecp5", 4), ("xcup", 6)])
@pytest.mark.parametrize("expected", [1, 2])
def test_a_tree_of_luts_has_the_levels_of_its_inputs(target: str, inputs: int, expected: int
                                                     ) -> None:
    """A level reduces as many bits as a LUT has inputs to one; Yosys may take one level more."""
    found = synthesized(Parity(inputs ** expected), target)
    assert expected <= found.levels <= expected + (expected > 1)


def synthesized(unit: wiring.Component, target: str) -> Depth:
    part = PARTS[target]
    netlist = unit_netlist(unit_netlist_script(part, map_pairs=False),
                           sources(part, to_verilog(unit, "top"), "", map_pairs=False))
    return depth({"Top": netlist}, "Top")


DEEPEST = 9
"""LUT levels that no logic of ``nano`` may exceed."""


def test_command_prints_the_depth_of_nano(monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture) -> None:
    """As JSON, no path is too deep, and every path's levels are the sum of those in its units."""
    code, out, err = test_cli.run(monkeypatch, capsys, "synth", "--hardware", "nano", "--target",
                                  "ecp5", "--depth", "--json", "-")
    assert code == 0, err
    found = json.loads(out)
    assert found["levels"] == max(found["units"].values())
    assert found["levels"] <= DEEPEST
    for path in found["paths"]:
        assert path["levels"] == pytest.approx(sum(step["levels"] for step in path["units"]))
    assert {"Accelerator", "Sequencer", "EventEncoder", "LaneGroup"} <= found["units"].keys()
    for unit, outputs in found["combinational"].items():
        assert outputs.keys() <= UNITS[unit].record.combinational.keys(), unit
