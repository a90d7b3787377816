"""Boards: one file for each, with geometry, part, clocks and memory.

Beside them is what other tools make of the accelerator: its size on a part, in ``synthesis`` and
``area``, and its Verilog as a program, in ``verilator``.
"""

from deltamoe.boards.board import Board
from deltamoe.boards.clock import Assumed, Clock
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


def clocks(hw: HwConfig, asked_mhz: float | None = None) -> tuple[Clock, ...]:
    """Return the clocks that frames/s of ``hw`` are stated at.

    ``asked_mhz`` alone if there is such; else those of the board that ``hw`` is named after, of
    which the last is that of energies. Evidence of the board's own hardware is none of another
    geometry, which has only the clock that it is for, and hardware that is named after no board
    has that of ``nano``.
    """
    if asked_mhz is not None:
        return (Clock(asked_mhz, Assumed("asked for")),)
    board = BOARDS.get(hw.name, NANO)
    return board.clocks if board.hardware == hw else (board.clock,)
