"""The store reader: when each transfer of ``STORE`` ends.

A transfer that enters @ ``t`` comes out of the queue in ``t + 1``, ``Fifo.timing.latency``, and
gives its command then, as does the next in the cycle after one has finished. With a command @
``c``, ``running`` is set for ``c + 1``, in which the first word is read at the earliest; then one
is in each cycle in which the port is granted. A beat is on ``o`` ``StoreReader.LATENCY`` after its
last word was read: memory and two registers, and the queue of beats. A beat counts as ``ahead``
from the cycle after its last word was read to that in which it is sent; so a word is read in the
cycle after the beat ``StoreReader.AHEAD`` before its own was sent, at the earliest, and with five
beats one can be sent in every cycle::

    cycle     c        c+1    c+2    c+3    c+4    c+5    c+6
              command  read 0                      on o, sent at the earliest
                              read 1                      on o
                                     read 2                      ...
                                                          read 5, as beat 0 was sent

A beat of references is two words.
"""

from collections import deque
from collections.abc import Mapping

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Store, Target
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.ports import Busy
from deltamoe.sim.units.dma_writer import DmaWriter
from deltamoe.sim.units.interleaved_writer import InterleavedWriter

AHEAD = cycles.StoreReader.AHEAD


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
        make = DmaWriter if self.hw.memory_ports == 1 else InterleavedWriter
        writer = make(command, store.address, store.beats, self.hw, self.memory)
        read, sent = command, deque([command] * AHEAD, maxlen=AHEAD)
        for slot in writer.words():
            for _ in range(words):
                read = max(read, sent[0]) + 1
                if port:
                    read = port.free(read)
            sent.append(max(read + cycles.StoreReader.LATENCY, slot))
            writer.send(sent[-1])
        return writer.done
