"""The accelerator's ports as the bus interfaces of a block design."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deltamoe.boards.packages.core import Core
from deltamoe.rtl.accelerator import memory_ports
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH

REGISTERS = "S_AXI"
"""Name of the interface of the registers."""


def memories(core: Core) -> list[str]:
    """Return the names of the interfaces that lead to memory."""
    return [name.upper() for name in memory_ports(core.board.hardware)]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Ports that belong together.

    Attributes
    ----------
    name : str
        Its name in a block design.
    library, bus : str
        What kind of interface it is, in the catalog of ``xilinx.com``.
    drives : bool
        Whether the accelerator is the side that begins: a manager of a bus, a source of a signal.
    ports : Mapping
        Port of the accelerator by its name in the kind of interface.
    parameters : Mapping
        What else a tool wants to know.
    """

    name: str
    library: str
    bus: str
    drives: bool
    ports: Mapping[str, str]
    parameters: Mapping[str, str]

    @property
    def kind(self) -> str:
        """The kind of interface, with its version."""
        return f"xilinx.com:{self.library}:{self.bus}:1.0"


def interfaces(core: Core) -> Iterator[Interface]:
    """Yield all interfaces; each port is in one of them.

    The clock alone has a frequency, the board's: a bus has that of its clock. No difference is too
    large, since a processing system cannot make every clock: 299,997,009 Hz, say, for 300 MHz.
    """
    hw = core.board.hardware
    names = [port.name for port in core.ports]
    widths = {port.name: port.width for port in core.ports}
    hertz = str(round(core.board.clock.mhz * 1e6))
    buses = [*memories(core), REGISTERS]
    of = {bus: {name.removeprefix(f"{bus.lower()}_").upper(): name for name in names
                if name.startswith(f"{bus.lower()}_")} for bus in buses}
    for bus in memories(core):
        yield Interface(
            name=bus, library="interface", bus="aximm", drives=True, ports=of[bus],
            parameters={"PROTOCOL": "AXI4", "DATA_WIDTH": str(8 * hw.port_bytes),
                        "ADDR_WIDTH": str(ADDRESS_WIDTH),
                        "ID_WIDTH": str(widths[f"{bus.lower()}_arid"]),
                        "READ_WRITE_MODE": "READ_WRITE", "MAX_BURST_LENGTH": str(hw.burst_beats),
                        "NUM_READ_OUTSTANDING": str(hw.outstanding), "SUPPORTS_NARROW_BURST": "0"})
    yield Interface(
        name=REGISTERS, library="interface", bus="aximm", drives=False, ports=of[REGISTERS],
        parameters={"PROTOCOL": "AXI4LITE", "DATA_WIDTH": str(widths["s_axi_wdata"]),
                    "ADDR_WIDTH": str(widths["s_axi_awaddr"]), "READ_WRITE_MODE": "READ_WRITE"})
    yield Interface(
        name="aclk", library="signal", bus="clock", drives=False, ports={"CLK": "aclk"},
        parameters={"ASSOCIATED_BUSIF": ":".join(buses), "ASSOCIATED_RESET": "aresetn",
                    "FREQ_HZ": hertz, "FREQ_TOLERANCE_HZ": "-1"})
    yield Interface(name="aresetn", library="signal", bus="reset", drives=False,
                    ports={"RST": "aresetn"}, parameters={"POLARITY": "ACTIVE_LOW"})
    yield Interface(name="interrupt", library="signal", bus="interrupt", drives=True,
                    ports={"INTERRUPT": "interrupt"}, parameters={"SENSITIVITY": "LEVEL_HIGH"})
