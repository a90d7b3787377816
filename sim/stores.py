"""Transfers of ``STORE``, and the cycles in which others have the memories that transfers use."""

from bisect import bisect_left
from collections.abc import Mapping

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Store, Target
from deltamoe.sim.memory import MemoryModel, bursts


class Busy:
    """Cycles in which a port is taken, noted in ascending order."""

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Note that it is taken from ``first`` to ``last``."""
        if self.lasts and first <= self.lasts[-1] + 1:
            self.lasts[-1] = max(last, self.lasts[-1])
        else:
            self.firsts.append(first)
            self.lasts.append(last)

    def free(self, cycle: int) -> int:
        """Return the first cycle from ``cycle`` on in which it is not."""
        place = bisect_left(self.lasts, cycle)
        if place < len(self.lasts) and self.firsts[place] <= cycle:
            return self.lasts[place] + 1
        return cycle


class Stores:
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
        """Run the next transfer, which entered the queue in cycle ``entered``; return its end.

        A beat is taken from the memory in the cycle after its port was free, once the beat before
        is being written; it is written at the earliest a cycle later.
        """
        target, port = store.target, self.ports.get(store.target)
        begun = max(entered, self.ends[-1] if self.ends else -1) + 1
        taken, written, slot = begun + 1, -1, begun + 2
        for length in bursts(store.address, store.beats, self.hw):
            slot = max(slot, written + 2)
            for _ in range(length):
                for _ in range(2 if target == Target.REFERENCE else 1):
                    taken = max(taken + 1, written)
                    if port:
                        taken = port.free(taken - 1) + 1
                written = max(taken + 1, slot)
                slot = written + self.memory.interval
        return written + self.memory.latency
