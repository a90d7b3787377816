"""Transfers of a program, from their executor through the read master to the loader."""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Sequencer
from deltamoe.rtl.program import Load, Target
from deltamoe.sim.datapath import Pipeline
from deltamoe.sim.memory import MemoryModel, Reader
from deltamoe.sim.report.spans import Span


class Loads:
    """The program's own transfer and its loads, in order.

    ``finished`` holds the cycle from which each load counts as finished, ``free`` is the first
    cycle in which the next may be taken.
    """

    def __init__(self, hw: HwConfig, memory: MemoryModel, pipeline: Pipeline) -> None:
        self.hw, self.pipeline, self.counters = hw, pipeline, pipeline.counters
        self.reader = Reader(hw, memory)
        self.ends: list[int] = []       # last cycle of each transfer
        self.finished: list[int] = []
        self.free = 0
        self.spans: list[Span] = []
        self.takes = {Target.STATE: self.take_sums, Target.REFERENCE: self.take_references}

    def take_sums(self, number: int, cycle: int) -> int:
        """Every second beat waits until no word is behind the kept sums' first register."""
        return self.pipeline.drains.free(cycle) if number % 2 else cycle

    def take_references(self, number: int, cycle: int) -> int:
        """A beat is written half by half, in two cycles in which the encoder writes nothing."""
        return self.pipeline.updates.free(self.pipeline.updates.free(cycle) + 1)

    def fetch(self, address: int, beats: int) -> int:
        """Read the program; return the last cycle of that."""
        taken, last = self.reader.read(0, address, beats, 0)
        self.transfer(beats, -1, last, "program")
        self.free = taken + 1
        return last

    def load(self, name: str, load: Load, offered: int, computed: list[int], rows: int,
             stored: int) -> int:
        """Run one load; return the cycle in which it was taken.

        ``computed`` holds the cycles from which compute descriptors count as finished, ``rows``
        is the tokens of the load's expert, ``stored`` the end of the ``STORE`` that it follows.
        """
        ready = accepted = max(offered, self.free)
        if len(self.ends) >= Sequencer.TRANSFERS:
            accepted = max(accepted, self.ends[-Sequencer.TRANSFERS] + 1)
        wanted, routed = load.wait_computes, load.routed
        skips = load.skip_if_empty and not rows
        if skips and wanted < routed:
            skips = max(accepted, computed[wanted - 1] if wanted else 0) >= computed[routed - 1]
        after = routed if skips else wanted
        accepted = max(accepted, stored + 1, computed[after - 1] if after else 0)
        self.counters["load_waits_computes"] += accepted - ready
        expected = max(accepted, self.ends[-1]) + 1
        if skips:
            self.free = accepted + 1
            self.transfer(0, accepted, expected, name)
        else:
            hold = self.hw.lanes if load.target == Target.TABLE else 1
            taken, last = self.reader.read(accepted + 1, load.address, load.beats, expected, hold,
                                           self.takes.get(load.target))
            self.free = taken + 1
            self.transfer(load.beats, accepted, last, name)
        self.finished.append(self.ends[-1] + 1)
        return accepted

    def transfer(self, beats: int, accepted: int, last: int, name: str) -> None:
        """Count a transfer that was taken in ``accepted`` and ended in ``last``."""
        first = max(accepted, self.ends[-1] if self.ends else -1) + 1
        self.counters["load_busy"] += last - first + 1
        self.counters["load_stalled"] += last - first + 1 - beats
        self.counters["bytes_read"] += beats * self.hw.bus_bytes
        self.ends.append(last)
        self.spans.append(Span(("load",), name, first, last + 1))
