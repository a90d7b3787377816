"""Boards: one file for each, with geometry, part, clock and memory.

Beside them is what other tools make of the accelerator: its size on a part, in ``synthesis`` and
``area``, and its Verilog as a program, in ``verilator``.
"""

from deltamoe.boards.board import Board
from deltamoe.boards.nano import NANO
from deltamoe.boards.ulx3s import ULX3S
from deltamoe.boards.zcu102 import ZCU102
from deltamoe.rtl.config import HwConfig

BOARDS: dict[str, Board] = {board.hardware.name: board for board in (NANO, ULX3S, ZCU102)}
PRESETS: dict[str, HwConfig] = {name: board.hardware for name, board in BOARDS.items()}
"""Hardware by the name of its board."""


def hardware(name: str) -> HwConfig:
    """Return the hardware of a board.

    Raises
    ------
    ValueError
        No such board.
    """
    if name not in PRESETS:
        raise ValueError(f"hardware {name!r} is not one of {', '.join(PRESETS)}")
    return PRESETS[name]


def clock(hw: HwConfig, asked_mhz: float | None = None) -> float:
    """Return the clock in MHz: ``asked_mhz``, or that of the board that ``hw`` is named after.

    Hardware that is named after no board has that of ``nano``.
    """
    return BOARDS.get(hw.name, NANO).clock_mhz if asked_mhz is None else asked_mhz
