"""Vivado: the accelerator as IP, and a script that builds a block design around it."""

from pathlib import Path

from deltamoe.boards.packages.core import (
    LIBRARY,
    RELEASE,
    VENDOR,
    Core,
    Format,
    zynq_board,
)
from deltamoe.boards.packages.interfaces import interfaces, memories
from deltamoe.boards.packages.ipxact import BLOCK, component
from deltamoe.host.files import read_text
from deltamoe.rtl.control.register_map import SPACE

SCRIPT = Path(__file__).with_name("project.tcl")
"""All of the script but the values that differ from board to board."""


def wrapper(core: Core, top: str) -> str:
    """Return a module around the accelerator with the attributes by which Vivado finds buses."""
    infos, parameters = {}, {}
    for interface in interfaces(core):
        for logical, physical in interface.ports.items():
            infos[physical] = f"{interface.kind} {interface.name} {logical}"
        listed = ", ".join(f"{name} {value}" for name, value in interface.parameters.items())
        parameters[next(iter(interface.ports.values()))] = (
            f"XIL_INTERFACENAME {interface.name}, {listed}")
    ports = []
    for port in core.ports:
        attributes = [f'  (* X_INTERFACE_INFO = "{infos[port.name]}" *)\n']
        if port.name in parameters:
            attributes.append(f'  (* X_INTERFACE_PARAMETER = "{parameters[port.name]}" *)\n')
        flow = "output" if port.output else "input"
        ports.append(f"{''.join(attributes)}  {flow} wire {port.range}{port.name}")
    pins = ",\n".join(f"    .{port.name}({port.name})" for port in core.ports)
    return "\n".join((
        f"// {core.name} with its buses named for a block design, also as a module reference.",
        "// Written by deltamoe package --as vivado.", "",
        f"module {top} (", ",\n".join(ports), ");", f"  {core.name} accelerator (", pins, "  );",
        "endmodule", ""))


def script(core: Core) -> str:
    """Return the script: what differs from board to board, then what does not."""
    zynq, clock = core.board.zynq, core.board.clock
    values = {
        "name": core.name, "vlnv": f"{VENDOR}:{LIBRARY}:{core.name}:{RELEASE}",
        "device": zynq.device, "board_part": zynq.board_part, "mhz": f"{clock.mhz:g}",
        "memory_ports": f"{{{' '.join(memories(core))}}}", "port_bits": 8 * zynq.port_bytes,
        "memory_bytes": zynq.memory_bytes,
        "registers": f"0x{zynq.registers:x}", "registers_bytes": SPACE, "block": BLOCK}
    lines = ["# Written by deltamoe package --as vivado.",
             f"# Clock of {clock}: {clock.evidence.because}.", ""]
    return "\n".join([*lines, *(f"set {name} {value}" for name, value in values.items()),
                      read_text(SCRIPT)])


def constraints(core: Core) -> str:
    """Return the clock, for synthesis of the accelerator alone.

    In the block design the processing system brings the constraint of its clock along.
    """
    period = 1000 / core.board.clock.mhz
    return ("# Only for synthesis out of context: the block design has the clock of the processing "
            f"system.\ncreate_clock -name aclk -period {period:.3f} [get_ports aclk]\n")


def files(core: Core) -> dict[str, str]:
    """Return the IP in a folder of its own, and the script."""
    top, clock = f"{core.name}_ip", f"{core.name}_ooc.xdc"
    sources = [f"{core.name}.v", f"{top}.v"]
    return {"project.tcl": script(core),
            "ip/component.xml": component(core, top, sources, clock),
            f"ip/{sources[0]}": core.verilog, f"ip/{sources[1]}": wrapper(core, top),
            f"ip/{clock}": constraints(core)}


FORMAT = Format(
    name="vivado",
    holds="IP-XACT component, and a script (Tcl) that builds a block design around a Zynq "
          "UltraScale+",
    files=files, takes=zynq_board,
    use=lambda _: "vivado -mode batch -source project.tcl, in the folder",
    checked="component.xml is valid (schema of IEEE 1685-2009) and read by ipyxact; the wrapper "
            "passes Verilator's lint; a Tcl interpreter runs the script, its commands recorded",
    unchecked="everything that only Vivado does: packaging, validation of the block design, "
              "synthesis, timing. A port to memory takes 16 bytes a cycle, and a wider bus gets no "
              "more of it")
