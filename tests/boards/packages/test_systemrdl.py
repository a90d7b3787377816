"""The registers in SystemRDL are those of the circuit's description."""

from pathlib import Path

from systemrdl import RDLCompiler
from systemrdl.node import RegNode

from deltamoe.boards import BOARDS
from deltamoe.boards.packages import FORMATS
from deltamoe.boards.packages.core import Core, register_map
from deltamoe.rtl.control.registers import Command, Status
from tests.boards.packages.cores import written


def compiled(folder: Path) -> dict[str, RegNode]:
    """Registers by name, of a package that asks for no Verilog."""
    core = Core(board=BOARDS["nano"], source=lambda _: 1 / 0)
    package = written(FORMATS["systemrdl"], core, folder / "package")
    compiler = RDLCompiler()
    compiler.compile_file(str(package / "deltamoe_nano.rdl"))
    return {node.inst_name: node for node in compiler.elaborate().top.registers()}


def test_every_register_is_there(tmp_path: Path) -> None:
    found = compiled(tmp_path)
    assert {name: node.absolute_address for name, node in found.items()} == {
        name: register.offset for name, register in register_map().items()}
    for name, register in register_map().items():
        node = found[name]
        assert node.get_property("desc") == register.meaning
        assert node.size == 4
        access = {"r": (True, False), "w": (False, True), "rw": (True, True)}[register.access]
        for field in node.fields():
            assert (field.is_sw_readable, field.is_sw_writable) == access
            reset = field.get_property("reset")
            if register.access == "rw" or register.reset:
                assert reset == register.reset


def test_bits_have_their_names(tmp_path: Path) -> None:
    found = compiled(tmp_path)
    for name, bits in (("control", Command), ("status", Status)):
        assert {field.inst_name: (field.low, field.width) for field in found[name].fields()} == {
            bit.name.lower(): (bit.value.bit_length() - 1, 1) for bit in bits}
