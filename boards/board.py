"""A board: what is built for it, and what its figures of time rest on."""

from dataclasses import dataclass

from deltamoe.boards.clock import Clock
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel


@dataclass(frozen=True, kw_only=True)
class Zynq:
    """The processing system of a Zynq UltraScale+, and how the accelerator is reached from it.

    Attributes
    ----------
    device, board_part : str
        The part, with package and speed grade, and the board, as Vivado calls them.
    registers : int
        Address of the registers, in the window of port ``M_AXI_HPM0_FPD``.
    port_bytes : int
        Bytes that the memory port ``S_AXI_HP0_FPD`` takes in a cycle.
    memory_bytes : int
        Bytes of memory from address 0 on that are reached through it.
    interrupt : int
        Number of the interrupt ``pl_ps_irq0`` among the shared ones of the interrupt controller.
    """

    device: str
    board_part: str
    registers: int = 0xA000_0000
    port_bytes: int = 16
    memory_bytes: int = 1 << 31
    interrupt: int = 89


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
    zynq : Zynq or None
        The processing system beside the logic, if there is one.
    """

    hardware: HwConfig
    part: str | None
    clock: Clock
    supported: Clock
    memory: MemoryModel
    memory_source: str
    zynq: Zynq | None = None

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Both clocks, the one with evidence first."""
        return tuple(dict.fromkeys((self.supported, self.clock)))
