"""The store reader: when each transfer of ``STORE`` ends.

A transfer that enters @ ``t`` comes out of the queue in ``t + 1``, ``Fifo.timing.latency``, and
gives its command then, as does the next in the cycle after one has finished. With a command @
``c``, ``running`` is set for ``c + 1``, in which the first word is read; if the port is granted,
the word is ``valid`` in ``c + 2``, ``StoreReader.TAKEN``, and taken, if the beat before has left
``o`` by then or leaves in that cycle; it is on ``o`` in the cycle after that. A word that is not
taken is read again, so that the port must be granted in the cycle before a word is taken, whichever
that is::

    cycle     c        c+1    c+2    c+3
              command  read   taken  on o, sent at the earliest
                       1      read   taken ...

A beat of references is two words, of which the first is only kept.
"""

from collections.abc import Mapping

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Store, Target
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.ports import Busy
from deltamoe.sim.units.bursts import bursts
from deltamoe.sim.units.dma_writer import DmaWriter


class StoreReader:
    """Transfers one after the other; each is run when its end is asked for.

    By then every operator that may read beside it must have been run.
    """

    def __init__(self, hw: HwConfig, memory: MemoryModel, ports: Mapping[Target, Busy]) -> None:
        self.hw, self.memory, self.ports = hw, memory, ports
        self.entered: list[tuple[int, Store]] = []
        self.ends: list[int] = []

    def end(self, number: int) -> int:
        """Return the cycle in which transfer ``number`` ends, -1 if it is none."""
        while len(self.ends) <= number:
            self.ends.append(self.run(*self.entered[len(self.ends)]))
        return self.ends[number] if number >= 0 else -1

    def run(self, entered: int, store: Store) -> int:
        """Run the next transfer, which entered the queue in cycle ``entered``; return its end."""
        port, words = self.ports.get(store.target), 1 + (store.target == Target.REFERENCE)
        command = max(entered + cycles.Fifo.timing.latency, self.ends[-1] + 1 if self.ends else 0)
        writer = DmaWriter(command, bursts(store.address, store.beats, self.hw), self.memory)
        taken = command + cycles.StoreReader.TAKEN - 1
        for slot in writer.beats():
            for _ in range(words):
                taken = max(taken + 1, writer.written)
                if port:
                    taken = port.free(taken - 1) + 1
            writer.send(max(taken + 1, slot))
        return writer.done
