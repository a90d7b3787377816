"""The accelerator as Verilog, for synthesis."""

from dataclasses import dataclass
from pathlib import Path

from deltamoe.api.result import Result
from deltamoe.boards import hardware as hardware_by_name
from deltamoe.host.files import write_all
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.generate import ports_json, to_verilog
from deltamoe.rtl.waivers import verilator_control

NAME = "deltamoe"
"""The top module, and the files' name."""

FILES = (f"{NAME}.v", f"{NAME}.json", f"{NAME}.vlt")
"""Verilog, ports, what a lint may ignore."""


@dataclass(frozen=True)
class Generated(Result):
    """Verilog of an accelerator in a folder: its name, and the files there with their content."""

    hardware: str
    folder: Path
    files: dict[str, str]

    @property
    def lines(self) -> int:
        """Lines of the Verilog."""
        return self.files[FILES[0]].count("\n")

    def figures(self) -> dict:
        return {"hardware": self.hardware,
                "files": [str(self.folder / name) for name in self.files], "lines": self.lines}

    def table(self) -> str:
        _, ports, waivers = (self.folder / name for name in FILES)
        return f"{self.folder / FILES[0]}: {self.lines:,} lines; {ports}, {waivers}"


def generated(hardware: str) -> dict[str, str]:
    """Return Verilog, ports and waivers of a preset, by file name: the same bytes every time.

    Raises
    ------
    ValueError
        No such preset.
    """
    unit = Accelerator(hardware_by_name(hardware))
    return dict(zip(FILES, (to_verilog(unit, NAME), ports_json(unit), verilator_control(FILES[0])),
                    strict=True))


def generate(hardware: str, folder: Path) -> Generated:
    """Write Verilog, ports and waivers of a preset into a folder, which is made if need be.

    Raises
    ------
    ValueError
        No such preset.
    OSError
        The folder cannot be written to.
    """
    files = generated(hardware)
    folder.mkdir(parents=True, exist_ok=True)
    write_all({folder / name: text for name, text in files.items()})
    return Generated(hardware, folder, files)
