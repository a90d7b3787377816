"""The write master with several ports: when it may take words.

A command @ ``c`` is in the register of the bursts from ``c + InterleavedWriter.WORD`` on, and words
are taken from then on, one a cycle, into the queue of the port whose turn it is, while that has
room; a word leaves it with the last of its beats. A burst whose last word comes @ ``t`` is in the
port's queue of bursts for ``t + 1``, ``Fifo.timing.latency``, in which its address is offered, and
its first beat follows in the cycle after. From burst to burst a port is as
:mod:`deltamoe.sim.units.dma_writer`. All ports show that they have been answered in the cycle after
the last response, which is said by a register, ``InterleavedWriter.DONE`` after that response::

    cycle    t          t+1              t+2
             last word  awvalid, begins  wvalid
"""

from collections.abc import Iterator

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units.bursts import bursts

BEGINS = cycles.Fifo.timing.latency


class Port:
    """What one port has written of a transfer."""

    def __init__(self, hw: HwConfig, memory: MemoryModel) -> None:
        self.interval, self.word = memory.interval, hw.memory_ports * memory.interval
        self.room = 2 * hw.block_words
        self.left: list[int] = []  # when each word left its queue
        self.given = 0             # words that came

    def free(self) -> int:
        """Return the first cycle in which it has room for another word."""
        return self.left[self.given - self.room] + 1 if self.given >= self.room else 0

    def write(self, closed: int, words: int) -> None:
        """Write a burst whose last word came in cycle ``closed``."""
        beat = closed + BEGINS + 1
        if self.left:
            beat = max(beat, self.left[-1] + max(cycles.DmaWriter.BEAT, self.interval))
        self.left += [beat + n * self.word - self.interval for n in range(1, words + 1)]


class InterleavedWriter:
    """One transfer, whose command was given in cycle ``command``."""

    def __init__(self, command: int, address: int, words: int, hw: HwConfig,
                 memory: MemoryModel) -> None:
        self.memory, self.taken = memory, command + cycles.InterleavedWriter.WORD - 1
        self.ports = [Port(hw, memory) for _ in range(hw.memory_ports)]
        self.lengths, self.block = bursts(address, words, hw), address // hw.block_bytes

    def words(self) -> Iterator[int]:
        """Yield, for each word, the first cycle in which it may be taken."""
        for number, length in enumerate(self.lengths, self.block):
            port = self.ports[number % len(self.ports)]
            for _ in range(length):
                yield max(self.taken + 1, port.free())
                port.given += 1
            port.write(self.taken, length)

    def send(self, cycle: int) -> None:
        """Note that the word was taken in ``cycle``."""
        self.taken = cycle

    @property
    def done(self) -> int:
        """The cycle in which it says that the last burst was answered."""
        written = max(port.left[-1] for port in self.ports if port.left)
        return written + self.memory.latency + cycles.InterleavedWriter.DONE
