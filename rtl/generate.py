"""Any unit as Verilog and its ports as JSON, the same bytes from run to run."""

import json
import re

from amaranth.back import verilog
from amaranth.lib import wiring

ASSERTION = re.compile(
    r"  always @\(posedge [^\n]*\) begin\n(?:    if \(1'h1\) begin\n      if \(![^\n]*\)\n"
    r"        \$write\([^\n]*\);\n      assert \([^\n]*\);\n    end\n)+  end\n")

ZEROED = re.compile(r"  initial begin\n(?:    [^\n]*\[\d+\] = \d+'[hdb]0+;\n)+  end\n")


def to_verilog(unit: wiring.Component, name: str, *, assertions: bool = False) -> str:
    """Return Verilog of ``unit`` with ``name`` as its top module.

    Assertions are SystemVerilog, for simulation; without them the text is plain Verilog that
    synthesis tools read. Memories that start as zeros are left uninitialized, since each word is
    written before its value matters and large memory blocks of some parts cannot be initialized.
    """
    text = verilog.convert(unit, name=name, emit_src=False, strip_internal_attrs=True)
    text = ZEROED.sub("", text)
    return text if assertions else ASSERTION.sub("", text)


def ports_json(unit: wiring.Component) -> str:
    """Return name, direction, width and signedness of every port."""
    return json.dumps(unit.metadata.as_json(), indent=2) + "\n"
