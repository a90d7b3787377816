"""A board: what is built for it, and what its figures of time rest on."""

from dataclasses import dataclass

from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel


@dataclass(frozen=True, kw_only=True)
class Board:
    """The accelerator on a board.

    Attributes
    ----------
    hardware : HwConfig
        Geometry of the accelerator; its name is the board's.
    part : str or None
        Family of the part, a key of :data:`deltamoe.boards.synthesis.parts.PARTS`; None if the
        design is for no board.
    clock_mhz : float
        Clock that frames/s assume.
    clock_source : str
        What the clock rests on.
    memory : MemoryModel
        Memory of the board.
    memory_source : str
        What the memory rests on.
    """

    hardware: HwConfig
    part: str | None
    clock_mhz: float
    clock_source: str
    memory: MemoryModel
    memory_source: str
