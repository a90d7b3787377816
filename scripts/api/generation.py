"""The accelerator as Verilog, for synthesis."""

from dataclasses import dataclass
from pathlib import Path

from rtl.accelerator import Accelerator
from rtl.generate import ports_json, to_verilog
from rtl.waivers import verilator_control
from scripts.api.result import Result
from scripts.host.files import write_all
from scripts.lookup import hardware as hardware_by_name

NAME = "deltamoe"
"""The top module, and the files' name."""


@dataclass(frozen=True)
class Generated(Result):
    """Verilog of an accelerator in a folder: its name, and the files there with their content."""

    hardware: str
    folder: Path
    files: dict[str, str]

    @property
    def lines(self) -> int:
        """Lines of the Verilog."""
        return self.files[f"{NAME}.v"].count("\n")

    def figures(self) -> dict:
        return {"hardware": self.hardware,
                "files": [str(self.folder / name) for name in self.files], "lines": self.lines}

    def table(self) -> str:
        return f"{self.folder / f'{NAME}.v'}: {self.lines:,} lines"


def generated(hardware: str) -> dict[str, str]:
    """Return Verilog, ports and waivers of a preset, by file name: the same bytes every time.

    Raises
    ------
    ValueError
        No such preset.
    """
    unit = Accelerator(hardware_by_name(hardware))
    return {f"{NAME}.v": to_verilog(unit, NAME), f"{NAME}.json": ports_json(unit),
            f"{NAME}.vlt": verilator_control(f"{NAME}.v")}


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
