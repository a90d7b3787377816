"""Any unit as Verilog and its ports as JSON, the same bytes from run to run."""

import json

from amaranth.back import verilog
from amaranth.lib import wiring


def to_verilog(unit: wiring.Component, name: str) -> str:
    """Return synthesizable Verilog of ``unit`` with ``name`` as its top module."""
    return verilog.convert(unit, name=name, emit_src=False, strip_internal_attrs=True)


def ports_json(unit: wiring.Component) -> str:
    """Return name, direction, width and signedness of every port."""
    return json.dumps(unit.metadata.as_json(), indent=2) + "\n"
