"""The registers in SystemRDL are those of the circuit's description."""

from pathlib import Path

import pytest
from systemrdl import RDLCompiler
from systemrdl.node import RegNode
from systemrdl.rdltypes import AccessType, OnWriteType

from deltamoe.boards import BOARDS
from deltamoe.boards.packages import FORMATS
from deltamoe.boards.packages.core import Core
from deltamoe.rtl.control.register_map import Access, register_map
from tests.boards.packages.cores import written

SIDES = {
    Access.READ: (AccessType.r, AccessType.w, None, False, False),
    Access.WRITE: (AccessType.w, AccessType.r, None, False, True),
    Access.BOTH: (AccessType.rw, AccessType.r, None, False, False),
    Access.CLEAR: (AccessType.rw, AccessType.r, OnWriteType.woclr, True, False),
}
"""Of a field: software, hardware, what a write does, whether hardware sets it, whether a pulse."""

CONSTANT = (AccessType.r, AccessType.na, None, False, False)


def compiled(name: str, folder: Path) -> dict[str, RegNode]:
    """Registers by name, of a package that asks for no Verilog."""
    core = Core(board=BOARDS[name], source=lambda _: 1 / 0)
    package = written(FORMATS["systemrdl"], core, folder / "package")
    compiler = RDLCompiler()
    compiler.compile_file(str(package / f"deltamoe_{name}.rdl"))
    return {node.inst_name: node for node in compiler.elaborate().top.registers()}


@pytest.mark.parametrize("name", BOARDS)
def test_registers_and_fields_are_as_described(name: str, tmp_path: Path) -> None:
    found, described = compiled(name, tmp_path), register_map(BOARDS[name].hardware)
    assert {name: node.absolute_address for name, node in found.items()} == {
        name: register.offset for name, register in described.items()}
    for name, register in described.items():
        node = found[name]
        assert (node.get_property("desc"), node.size) == (register.meaning, 4)
        assert [(field.inst_name, field.low, field.width, field.get_property("desc"),
                 field.get_property("reset")) for field in node.fields()] == [
            (field.name, field.low, field.width, field.meaning, field.reset)
            for field in register.fields]
        for field in node.fields():
            assert tuple(map(field.get_property, (
                "sw", "hw", "onwrite", "hwset", "singlepulse"))) == (
                CONSTANT if register.constant else SIDES[register.access]), name
