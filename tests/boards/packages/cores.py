"""Packages to test: small ones, and how each is written."""

import os
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

from deltamoe.boards import BOARDS, PRESETS
from deltamoe.boards.packages.core import Core, Format
from deltamoe.boards.verilator.build import verilator
from deltamoe.boards.verilator.engine import verilog
from deltamoe.host.files import write_folder


@cache
def small(board: str, ports: int = 1) -> Core:
    """The multipliers and the bus of ``nano`` on another board, which takes seconds to make."""
    hw = replace(PRESETS["nano"], memory_ports=ports)
    there = replace(BOARDS[board], hardware=replace(hw, name=board))
    return Core(board=there, source=lambda _: verilog(hw))


def header(core: Core) -> str:
    """A module with the ports of the accelerator and nothing within, to lint what is around it."""
    flow = {True: "output", False: "input"}
    ports = ", ".join(f"{flow[port.output]} {port.range}{port.name}" for port in core.ports)
    return f"module {core.name} ({ports});\nendmodule\n"


def lint(top: str, folder: Path, *files: str) -> str:
    """All that Verilator's lint has to say."""
    binary, root = verilator()
    return subprocess.run(
        [binary, "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top, *files], cwd=folder,
        env=os.environ | ({"VERILATOR_ROOT": str(root)} if root else {}), capture_output=True,
        text=True, check=True).stderr


def written(form: Format, core: Core, folder: Path) -> Path:
    """Write a package; return its folder."""
    write_folder(folder, form.files(core))
    return folder
