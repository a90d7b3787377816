"""The write master: when it may send beats.

A command @ ``c`` is in the register of the bursts from ``c + 1`` on, and the burst's address is
offered then; ``left``, the register of its beats, is set by the edge behind it. So the first beat
is sent in ``c + DmaWriter.BEAT`` at the earliest. A burst's last beat @ ``w`` empties ``left`` for
``w + 1``, in which the next address is offered, and the next beat follows in
``w + DmaWriter.BEAT``. The answer to the last is reported by a register, ``DmaWriter.DONE`` later::

    cycle    c        c+1              c+2
             command  awvalid, begins  wvalid
             wlast    awvalid, begins  wvalid
"""

from collections.abc import Iterator

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units.bursts import bursts


class DmaWriter:
    """One transfer, whose command was given in cycle ``command``."""

    def __init__(self, command: int, address: int, beats: int, hw: HwConfig,
                 memory: MemoryModel) -> None:
        self.lengths, self.memory = bursts(address, beats, hw), memory
        self.slot, self.written = command + cycles.DmaWriter.BEAT, -1

    def words(self) -> Iterator[int]:
        """Yield, for each word, which is a beat, the first cycle in which it may be sent."""
        for length in self.lengths:
            self.slot = max(self.slot, self.written + cycles.DmaWriter.BEAT)
            for _ in range(length):
                yield self.slot

    def send(self, cycle: int) -> None:
        """Note that the beat was sent in ``cycle``; the memory takes another ``interval`` later."""
        self.written = cycle
        self.slot = cycle + self.memory.interval

    @property
    def done(self) -> int:
        """The cycle in which it says that the last burst was answered."""
        return self.written + self.memory.latency + cycles.DmaWriter.DONE
