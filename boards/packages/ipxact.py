"""A component in IP-XACT (IEEE 1685-2009), with the extensions that Vivado wants to see."""

from collections.abc import Iterable, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from deltamoe.boards.packages.core import (
    LIBRARY,
    RELEASE,
    VENDOR,
    Core,
)
from deltamoe.boards.packages.interfaces import REGISTERS, Interface, interfaces, memories
from deltamoe.rtl.control.register_map import SPACE, Access, Register
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH

SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
XILINX = "http://www.xilinx.com"
BLOCK = "registers"
"""Name of the registers' place in a memory map."""

ACCESS = {Access.READ: "read-only", Access.WRITE: "write-only", Access.BOTH: "read-write",
          Access.CLEAR: "read-write"}
VIEWS = {"xilinx_anylanguagesynthesis": "synthesis",
         "xilinx_anylanguagebehavioralsimulation": "simulation"}
"""Name of each view, and what for; ``fileSet`` is named after the view."""


def child(parent: Element, name: str, text: object = None, space: str = SPIRIT, /,
          **attributes: str) -> Element:
    """Add an element with attributes of its own name space."""
    element = SubElement(parent, f"{{{space}}}{name}",
                      {f"{{{space}}}{key}": value for key, value in attributes.items()})
    if text is not None:
        element.text = str(text)
    return element


def parameters(parent: Element, values: Mapping[str, str], kind: str) -> None:
    """Add parameters, and the names ``kind.NAME`` by which Vivado knows them."""
    listed = child(parent, "parameters")
    for name, value in values.items():
        one = child(listed, "parameter")
        child(one, "name", name)
        child(one, "value", value, id=f"{kind}.{name}")


def bus_interface(parent: Element, of: Interface) -> None:
    """Add an interface with its ports."""
    bus = child(parent, "busInterface")
    child(bus, "name", of.name)
    kind = {"vendor": "xilinx.com", "library": of.library, "version": "1.0"}
    child(bus, "busType", name=of.bus, **kind)
    child(bus, "abstractionType", name=f"{of.bus}_rtl", **kind)
    side = child(bus, "master" if of.drives else "slave")
    if of.bus == "aximm":
        reference = "addressSpaceRef" if of.drives else "memoryMapRef"
        child(side, reference, **{reference: of.name})
    maps = child(bus, "portMaps")
    for logical, physical in of.ports.items():
        one = child(maps, "portMap")
        child(child(one, "logicalPort"), "name", logical)
        child(child(one, "physicalPort"), "name", physical)
    parameters(bus, of.parameters, f"BUSIFPARAM_VALUE.{of.name.upper()}")


def registers(parent: Element, described: Mapping[str, Register]) -> None:
    """Add the memory map."""
    mapped = child(child(parent, "memoryMaps"), "memoryMap")
    child(mapped, "name", REGISTERS)
    block = child(mapped, "addressBlock")
    child(block, "name", BLOCK)
    child(block, "baseAddress", 0)
    child(block, "range", SPACE)
    child(block, "width", 32)
    child(block, "usage", "register")
    for name, register in described.items():
        entry = child(block, "register")
        child(entry, "name", name)
        child(entry, "description", register.meaning)
        child(entry, "addressOffset", f"0x{register.offset:x}")
        child(entry, "size", 32)
        child(entry, "access", ACCESS[register.access])
        child(child(entry, "reset"), "value", f"0x{register.reset:x}")
        for field in register.fields:
            part = child(entry, "field")
            child(part, "name", field.name)
            child(part, "description", field.meaning)
            child(part, "bitOffset", field.low)
            child(part, "bitWidth", field.width)
            child(part, "access", ACCESS[register.access])
            if register.access is Access.CLEAR:
                child(part, "modifiedWriteValue", "oneToClear")


def model(parent: Element, core: Core, top: str) -> None:
    """Add the views and the ports of the top module."""
    body = child(parent, "model")
    views = child(body, "views")
    for name, purpose in VIEWS.items():
        view = child(views, "view")
        child(view, "name", name)
        child(view, "envIdentifier", f":vivado.xilinx.com:{purpose}")
        child(view, "language", "verilog")
        child(view, "modelName", top)
        child(child(view, "fileSetRef"), "localName", f"{name}_view_fileset")
    ports = child(body, "ports")
    for port in core.ports:
        one = child(ports, "port")
        child(one, "name", port.name)
        wire = child(one, "wire")
        child(wire, "direction", "out" if port.output else "in")
        if port.width > 1:
            vector = child(wire, "vector")
            child(vector, "left", port.width - 1)
            child(vector, "right", 0)


def file_sets(parent: Element, sources: Iterable[str], constraints: str) -> None:
    """Add a set of files for each view."""
    sets = child(parent, "fileSets")
    for name, purpose in VIEWS.items():
        one = child(sets, "fileSet")
        child(one, "name", f"{name}_view_fileset")
        for source in sources:
            file = child(one, "file")
            child(file, "name", source)
            child(file, "fileType", "verilogSource")
        if purpose == "synthesis":
            file = child(one, "file")
            child(file, "name", constraints)
            child(file, "userFileType", "xdc")
            child(file, "userFileType", "USED_IN_implementation")
            child(file, "userFileType", "USED_IN_out_of_context")
            child(file, "userFileType", "USED_IN_synthesis")


def component(core: Core, top: str, sources: Iterable[str], constraints: str) -> str:
    """Return the description of a component.

    Parameters
    ----------
    core : Core
        What it describes.
    top : str
        Module that a tool is to instantiate; it has the ports of ``core``.
    sources : iterable of str
        Files of Verilog.
    constraints : str
        File with the clock, for synthesis of the component alone.
    """
    ElementTree.register_namespace("spirit", SPIRIT)
    ElementTree.register_namespace("xilinx", XILINX)
    root = Element(f"{{{SPIRIT}}}component")
    for name, text in (("vendor", VENDOR), ("library", LIBRARY), ("name", core.name),
                       ("version", RELEASE)):
        child(root, name, text)
    buses = child(root, "busInterfaces")
    for interface in interfaces(core):
        bus_interface(buses, interface)
    spaces = child(root, "addressSpaces")
    for name in memories(core):
        space = child(spaces, "addressSpace")
        child(space, "name", name)
        child(space, "range", 1 << ADDRESS_WIDTH)
        child(space, "width", 8 * core.board.hardware.port_bytes)
    registers(root, core.registers)
    model(root, core, top)
    file_sets(root, list(sources), constraints)
    child(root, "description", "DeltaMoE, an accelerator for vision transformers with a mixture of "
          f"experts: {core.board.hardware.name}")
    parameters(root, {"Component_Name": core.name}, "PARAM_VALUE")
    extensions = child(child(root, "vendorExtensions"), "coreExtensions", None, XILINX)
    families = child(extensions, "supportedFamilies", None, XILINX)
    child(families, "family", "zynquplus", XILINX, lifeCycle="Production")
    taxonomies = child(extensions, "taxonomies", None, XILINX)
    child(taxonomies, "taxonomy", "/UserIP", XILINX)
    child(extensions, "displayName", f"DeltaMoE {core.board.hardware.name}", XILINX)
    child(extensions, "coreRevision", 1, XILINX)
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode", xml_declaration=False).join(
        ('<?xml version="1.0" encoding="UTF-8"?>\n', "\n"))
