"""The read master with several ports: when the words of a transfer come.

Commands and addresses are as those of :mod:`deltamoe.sim.units.dma_reader`, but a burst waits until
fewer than ``outstanding`` of its own port have words that have not left the port; the next may
follow in the cycle after the last word of one has left. A port's memory gives its beats whatever
the others do, and nothing holds them up. With the last beat of a word @ ``b``, the word is in the
port's queue for ``b + 1``, ``Fifo.timing.latency``, in which it is moved to the register ``o``, if
that is empty or its word is taken then, and is on ``o`` in ``b + InterleavedReader.WORD``::

    cycle    b     b+1    b+2
             beat  moved  on o, taken at the earliest
                          next moved
"""

from collections.abc import Callable

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units.bursts import bursts

QUEUED = cycles.Fifo.timing.latency
REGISTER = cycles.InterleavedReader.WORD - QUEUED


class InterleavedReader:
    """The read master over a whole program."""

    def __init__(self, hw: HwConfig, memory: MemoryModel) -> None:
        self.hw, self.memory = hw, memory
        self.asked = -1  # cycle of the last burst's address
        self.last = -1   # cycle in which the last word was taken
        self.beats = [-memory.interval] * hw.memory_ports  # cycle of each port's last beat
        self.left: list[list[int]] = [[] for _ in self.beats]  # when the bursts left their ports

    def read(self, command: int, address: int, words: int, expected: int,
             hold: int = 1, take: Callable[[int, int], int] | None = None) -> tuple[int, int]:
        """Return the cycles in which the command is taken and its last word.

        Parameters are those of :meth:`deltamoe.sim.units.dma_reader.DmaReader.read`.
        """
        hw, memory = self.hw, self.memory
        taken = max(command, self.asked)
        asked, last, number = taken + cycles.InterleavedReader.ADDRESS - 1, self.last, 0
        word_interval = hw.memory_ports * memory.interval
        for length in bursts(address, words, hw):
            port = address // hw.block_bytes % hw.memory_ports
            address += length * hw.bus_bytes
            left, asked = self.left[port], asked + 1
            if len(left) >= hw.outstanding:
                asked = max(asked, left[-hw.outstanding] + 1)
            beat = max(asked + memory.latency, self.beats[port] + memory.interval)
            beat += word_interval - memory.interval  # the last of its word
            for n in range(number, number + length):
                moved = max(beat + QUEUED, last)
                last = max(moved + REGISTER, expected)
                last = take(n, last) if take else last + hold - 1
                beat += word_interval
            self.beats[port] = beat - word_interval
            left.append(moved)
            number += length
        self.asked, self.last = asked, last
        return taken, last
