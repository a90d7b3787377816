"""The accelerator as a package for another tool."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.text import Text

from deltamoe.api.progress import QUIET, Progress
from deltamoe.api.result import Result
from deltamoe.boards import BOARDS
from deltamoe.boards import hardware as hardware_by_name
from deltamoe.boards.packages import FORMATS
from deltamoe.boards.packages.core import Core, Format
from deltamoe.host.files import write_folder
from deltamoe.host.outputs import check_new_folder


@dataclass(frozen=True)
class Packaged(Result):
    """A package in a folder: of which accelerator, its format, and its files."""

    core: Core
    form: Format
    folder: Path
    files: dict[str, str]

    def figures(self) -> dict:
        return {"hardware": self.core.board.hardware.name, "as": self.form.name,
                "module": self.core.name, "clock_mhz": self.core.board.clock.mhz,
                "files": [str(self.folder / name) for name in self.files],
                "use": self.form.use(self.core), "checked": self.form.checked,
                "unchecked": self.form.unchecked}

    def table(self) -> Group:
        lines = (f"{self.folder}: {', '.join(self.files)}", f"use: {self.form.use(self.core)}",
                 f"checked by tests: {self.form.checked}",
                 f"checked by no open tool: {self.form.unchecked}")
        return Group(*map(Text, lines))


def format_for(form: str, hardware: str) -> Format:
    """Return a format by its name.

    Raises
    ------
    ValueError
        There is no such format or preset, or none of this format for the preset.
    """
    if form not in FORMATS:
        raise ValueError(f"--as {form!r} is not one of {', '.join(FORMATS)}")
    hardware_by_name(hardware)
    found = FORMATS[form]
    if not found.takes(BOARDS[hardware]):
        allowed = [name for name, board in BOARDS.items() if found.takes(board)]
        raise ValueError(f"hardware {hardware!r} with --as {form} is not one of "
                         f"{', '.join(allowed)}")
    return found


def package(hardware: str, form: str, folder: Path, *, progress: Progress = QUIET) -> Packaged:
    """Write the accelerator of a preset as a package: all of a folder, or nothing.

    Parameters
    ----------
    hardware : str
        Name of a preset.
    form : str
        Name of a format, one of :data:`deltamoe.boards.packages.FORMATS`.
    folder : Path
        A new one.
    progress : Progress
        Is told that it works.

    Raises
    ------
    ValueError
        Names what is wrong, and what is allowed.
    ProgramError
        Yosys failed to print the Verilog.
    OSError
        The folder cannot be written to.
    """
    found = format_for(form, hardware)
    check_new_folder(folder)
    with progress.bar(f"generating {hardware}"):
        core = Core(board=BOARDS[hardware])
        files = dict(found.files(core))
    write_folder(folder, files)
    return Packaged(core, found, folder, files)
