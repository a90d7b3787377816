"""A board: what is built for it, and what its figures of time rest on."""

from dataclasses import dataclass

from deltamoe.boards.clock import Clock
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
    clock : Clock
        Clock that the design is for, of frames/s and energy where only one is stated.
    supported : Clock
        Clock that the evidence so far backs.
    memory : MemoryModel
        Memory of the board.
    memory_source : str
        What the memory rests on.
    """

    hardware: HwConfig
    part: str | None
    clock: Clock
    supported: Clock
    memory: MemoryModel
    memory_source: str

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Both clocks, the one with evidence first."""
        return tuple(dict.fromkeys((self.supported, self.clock)))
