# amaranth: UnusedElaboratable=no
"""What is packaged, and what a format of packages is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from amaranth.lib.wiring import Out

from deltamoe.boards.board import Board
from deltamoe.boards.packages.names import plain
from deltamoe.boards.verilator.engine import verilog
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.register_map import VERSION, Register, register_map
from deltamoe.rtl.generate import ports

VENDOR, LIBRARY = "deltamoe", "accelerator"
RELEASE = f"{VERSION}.0"
"""Version of every package: that of the registers, which is what software depends on."""


@dataclass(frozen=True)
class Port:
    """A port of the accelerator."""

    name: str
    output: bool
    width: int

    @property
    def range(self) -> str:
        """The range of a declaration in Verilog, with a space behind it; nothing for one bit."""
        return f"[{self.width - 1}:0] " if self.width > 1 else ""


@dataclass(frozen=True, kw_only=True)
class Core:
    """The accelerator of a board, to be packaged.

    Attributes
    ----------
    board : Board
        What it is for.
    source : callable
        Verilog of a geometry; a package that has none does not ask for it.
    """

    board: Board
    source: Callable[[HwConfig], str] = verilog

    @property
    def name(self) -> str:
        """Name of the top module and of the package, legal and of this board alone."""
        return f"deltamoe_{self.board.hardware.name}"

    @cached_property
    def verilog(self) -> str:
        """The Verilog, with plain names and ``name`` as the top module."""
        return plain(self.source(self.board.hardware), self.name)

    @cached_property
    def registers(self) -> dict[str, Register]:
        """All registers by name, both halves of each counter included."""
        return register_map(self.board.hardware)

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """All ports of the top module, by name.

        Of an accelerator that is made for its ports alone, as the first line of this file says.
        """
        return tuple(sorted((Port(name, flow == Out, len(wires))
                             for name, flow, wires in ports(Accelerator(self.board.hardware))),
                            key=lambda port: port.name))


def every_board(_: Board) -> bool:
    """Tell that a format takes a board."""
    return True


def zynq_board(board: Board) -> bool:
    """Tell whether a board has the processing system of a Zynq UltraScale+ beside the logic."""
    return board.zynq is not None


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of package.

    Attributes
    ----------
    name : str
        What ``--as`` takes.
    holds : str
        What a package of it is, in a few words.
    files : callable
        Text of each file, by its path in the package.
    use : callable
        What to do with it: a command, or a line of Python.
    checked, unchecked : str
        What the tests check, and by which tool; what no open tool can check.
    takes : callable
        Whether there is one for a board.
    """

    name: str
    holds: str
    files: Callable[[Core], Mapping[str, str]]
    use: Callable[[Core], str]
    checked: str
    unchecked: str
    takes: Callable[[Board], bool] = every_board
