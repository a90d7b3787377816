"""The read master: when the beats of a transfer come.

A command that is taken @ ``c`` is in the register of the bursts from ``c + 1`` on, so its first
address is offered in ``c + DmaReader.ADDRESS``, and one a cycle after that, while fewer than
``outstanding`` bursts are in flight: one leaves the queue of bursts with its last beat, and the
next address may follow in the cycle after. The memory takes each at once. The next command is taken
at the earliest in the cycle of the last address. There is no register in the way of a beat.
"""

from collections.abc import Callable

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units.bursts import bursts


class DmaReader:
    """The read master over a whole program."""

    def __init__(self, hw: HwConfig, memory: MemoryModel) -> None:
        self.hw, self.memory = hw, memory
        self.asked = -1              # cycle of the last burst's address
        self.last = -memory.interval  # cycle of the last beat
        self.ends: list[int] = []    # last beats of the bursts so far

    def read(self, command: int, address: int, beats: int, expected: int,
             hold: int = 1, take: Callable[[int, int], int] | None = None) -> tuple[int, int]:
        """Return the cycles in which the command is taken and its last beat.

        The command is offered from cycle ``command`` on. The loader takes no beat before cycle
        ``expected`` and holds each for ``hold`` cycles, or takes beat ``n`` when ``take(n, cycle)``
        says that it takes one that is there in ``cycle``.
        """
        hw, memory = self.hw, self.memory
        taken = max(command, self.asked)
        asked, last, number = taken + cycles.DmaReader.ADDRESS - 1, self.last, 0
        for length in bursts(address, beats, hw):
            asked += 1
            if len(self.ends) >= hw.outstanding:
                asked = max(asked, self.ends[-hw.outstanding] + 1)
            first = max(asked + memory.latency, last + memory.interval, expected)
            if take:
                for beat in range(length):
                    last = take(number + beat, first)
                    first = last + memory.interval
                number += length
            else:
                last = first + hold - 1 + (length - 1) * (hold - 1 + memory.interval)
            self.ends.append(last)
        self.asked, self.last = asked, last
        return taken, last
