"""The executors: when loads and operators are taken.

**Loads.** A load is taken in the cycle after the first one in which all that it waits for is there,
``LoadExecutor.JUDGED`` later. A load that is taken @ ``c`` enters the queue of transfers in that
cycle, and its command is offered to the read master in ``c + LoadExecutor.COMMAND``, from a
register. The executor is idle again in the cycle after the command was taken, or after ``c`` if the
load is skipped, which has no command. A load waits for what it must follow: ``computes`` and
``stores`` are registers, and so count an operator or a transfer from the cycle after its end on; so
is the queue's level, which falls in the cycle after a transfer ended.

**Operators.** A descriptor that is taken @ ``c`` is issued in ``c + ComputeExecutor.START``: its
operator begins then, or if it has no rows or is a ``STORE``, the executor is idle again in the
cycle after. Else it is in the cycle after the last item was taken. An operator that takes rows as
they come does not wait for the last of those that it waits for. A ``STORE`` waits until ``pending``
shows that transfers have finished: all of them if it is of the residual stream, else one of
``DEPTH``.
"""

from collections.abc import Sequence
from typing import NamedTuple

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.label import PROGRAM, Label
from deltamoe.rtl.program import Compute, Load, Operator, Store, Target
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.report.spans import LOAD, Span
from deltamoe.sim.units.dma_reader import DmaReader
from deltamoe.sim.units.interleaved_reader import InterleavedReader
from deltamoe.sim.units.loader import Loader
from deltamoe.sim.units.retirement import Retirement
from deltamoe.sim.units.store_reader import StoreReader

JUDGED = cycles.LoadExecutor.JUDGED


class LoadExecutor:
    """The program's own transfer and its loads, in order.

    ``finished`` holds the cycle from which each load counts as finished, ``free`` is the first
    cycle in which the next may be taken.
    """

    def __init__(self, hw: HwConfig, memory: MemoryModel, loader: Loader,
                 counters: dict[str, int]) -> None:
        self.hw, self.loader, self.counters = hw, loader, counters
        self.reader = (DmaReader if hw.memory_ports == 1 else InterleavedReader)(hw, memory)
        self.finished: list[int] = []
        self.free = 0
        self.spans: list[Span] = []

    def fetch(self, address: int, beats: int) -> int:
        """Read the program; return the last cycle of that."""
        taken, last = self.reader.read(0, address, beats, 0)
        self.transfer(beats, -1, last, PROGRAM)
        self.free = taken + 1
        return last

    def load(self, label: Label, load: Load, offered: int, computed: Sequence[int], rows: int,
             stored: int) -> int:
        """Run one load; return the cycle in which it was taken.

        ``computed`` holds the cycles from which compute descriptors count as finished, ``rows``
        is the tokens of the load's expert, ``stored`` the end of the ``STORE`` that it follows.
        """
        ends, loader = self.loader.ends, self.loader
        ready = accepted = max(offered + JUDGED, self.free)
        if len(ends) >= cycles.TransferQueue.DEPTH:
            accepted = max(accepted, ends[-cycles.TransferQueue.DEPTH] + 1)
        wanted, routed = load.wait_computes, load.routed
        skips = load.skip_if_empty and not rows
        if skips and wanted < routed:
            skips = (max(accepted, computed[wanted - 1] + JUDGED if wanted else 0)
                     >= computed[routed - 1] + JUDGED)
        after = routed if skips else wanted
        accepted = max(accepted, stored + 1 + JUDGED, computed[after - 1] + JUDGED if after else 0)
        self.counters["load_waits_computes"] += accepted - ready
        expected = loader.expects(accepted)
        if skips:
            self.free = accepted + 1
            self.transfer(0, accepted, expected, label)
        else:
            taken, last = self.reader.read(
                accepted + cycles.LoadExecutor.COMMAND, load.address, load.beats, expected,
                loader.hold(load.target), loader.takes.get(load.target))
            self.free = taken + 1
            self.transfer(load.beats, accepted, last, label)
        self.finished.append(ends[-1] + 1)
        return accepted

    def transfer(self, beats: int, accepted: int, last: int, label: Label) -> None:
        """Count a transfer that was taken in ``accepted`` and ended in ``last``."""
        first = self.loader.expects(accepted)
        self.counters["load_busy"] += last - first + 1
        self.counters["load_stalled"] += last - first + 1 - beats
        self.counters["bytes_read"] += beats * self.hw.bus_bytes
        self.loader.ends.append(last)
        self.spans.append(Span((LOAD,), label, first, last + 1))


class Accepted(NamedTuple):
    """When a compute descriptor and its executor were ready, its loads were there, it was taken."""

    ready: int
    loaded: int
    taken: int


class ComputeExecutor:
    """Compute descriptors, in order; ``free`` is the first cycle in which one may be taken."""

    def __init__(self, retirement: Retirement, stores: StoreReader) -> None:
        self.retirement, self.stores = retirement, stores
        self.free = 0

    def accept(self, descriptor: Compute, offered: int, loads: Sequence[int]) -> Accepted:
        """Return when a descriptor is taken; ``loads`` are those from which loads count."""
        ready, wanted = max(offered, self.free), descriptor.wait_loads
        loaded = max(ready, loads[wanted - 1] if wanted else 0)
        by_row = isinstance(descriptor, Operator) and descriptor.by_row
        wanted, finished = descriptor.wait_computes - by_row, self.retirement.finished
        taken = max(loaded, finished[wanted - 1] if wanted > 0 else 0, self.retirement.room())
        if isinstance(descriptor, Store):
            most = 1 if descriptor.target == Target.RESIDUAL else cycles.StoreReader.DEPTH
            taken = max(taken, self.stores.end(len(self.stores.entered) - most) + 1)
        return Accepted(ready, loaded, taken)
