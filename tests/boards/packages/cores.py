"""Packages to test: small ones, and how each is written."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from deltamoe.boards import BOARDS, PRESETS
from deltamoe.boards.packages.core import Core, Format, name_of
from deltamoe.boards.packages.names import plain
from deltamoe.boards.verilator.engine import verilog
from deltamoe.host.files import write_folder

IDENTIFIER = re.compile(r"[A-Za-z_][\w$]*")


@cache
def small(board: str) -> Core:
    """The multipliers and the bus of ``nano`` on another board, which takes seconds to make."""
    there = replace(BOARDS[board], hardware=replace(PRESETS["nano"], name=board))
    return Core(board=there, verilog=plain(verilog(PRESETS["nano"]), name_of(there)))


def written(form: Format, core: Core, folder: Path) -> Path:
    """Write a package; return its folder."""
    write_folder(folder, form.files(core))
    return folder
