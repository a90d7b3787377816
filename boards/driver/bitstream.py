"""The manifest of ``deltamoe bitstream``: what was built, by which tools, how it is reached."""

from pathlib import Path
from typing import Literal

from deltamoe.boards.driver.manifest import (
    NAME,
    File,
    Hardware,
    Natural,
    Part,
    Positive,
    Sha256,
    Word,
    valid,
)
from deltamoe.host.files import read_text


class Window(Part):
    """Addresses on the bus of the SoC."""

    address: Word
    bytes: Positive


class Step(Part):
    """A register to write, and cycles to wait behind it."""

    address: Word
    value: Word
    cycles: Natural


class Soc(Part):
    """A SoC of LiteX as its bridge sees it."""

    hardware: Hardware
    clock_mhz: float
    """Of all of it."""
    baud: Positive
    """Bits per second of the UART."""
    registers: Window
    """Of the accelerator."""
    memory: Window
    """SDRAM; its first byte is address 0 of the accelerator."""
    wake: tuple[Step, ...]
    """What SDRAM needs after power-up, once."""
    mark: Word
    """Address of a register that keeps what is written to it until a reset."""


class Timing(Part):
    """What nextpnr reports."""

    fmax_mhz: float
    slack_ns: float
    """Of the critical path; negative if it is too long for the clock."""
    critical_ns: float
    met: bool
    """Whether the clock may be as fast as it is."""


class Cells(Part):
    """Cells of a kind, on the part."""

    used: Natural
    available: Natural


class Bitstream(Part):
    """A bitstream, and the SoC in it."""

    format: Literal["deltamoe-bitstream"]
    version: Literal[1]
    board: str
    part: str
    tools: dict[str, str]
    """Version of each."""
    seed: Natural
    """Where the placer began."""
    timing: Timing
    utilization: dict[str, Cells]
    netlist: Sha256
    """Of what Yosys made."""
    files: tuple[File, ...]
    soc: Soc

    def text(self) -> str:
        """Return the file's text."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"


def read_bitstream(folder: Path) -> Bitstream:
    """Return the manifest in a folder.

    Raises
    ------
    ValueError
        It is not one; says where.
    OSError
        It cannot be read.
    """
    path = folder / NAME
    return valid(Bitstream, read_text(path), str(path))
