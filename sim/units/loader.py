"""The loader: when it takes the beats of a transfer.

The executor enters a transfer into a queue, from whose head it goes to a register. There the
loader sees it ``TransferQueue.LATENCY`` cycles later at the earliest, or in the cycle after the
last beat of the one before. The queue and the register hold ``TransferQueue.DEPTH`` together. A
beat is taken as it comes, with these exceptions:

* of table entries it is held for ``lanes`` cycles, one for each byte;
* the second of a word of sums waits until no word ``passes`` the register that it would overwrite;
* of references it is written half by half, each in a cycle in which the encoder writes nothing, and
  taken with the second.

A skipped transfer takes one cycle. A load has finished in the cycle after its last beat.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import TransferQueue
from deltamoe.rtl.program import Target
from deltamoe.sim.ports import Busy


class Loader:
    """The loader over a whole program.

    ``ends`` are the last cycles of its transfers; ``passing`` and ``updates`` the cycles in which
    kept sums and references cannot be written.
    """

    def __init__(self, hw: HwConfig, passing: Busy, updates: Busy) -> None:
        self.hw, self.passing, self.updates = hw, passing, updates
        self.ends: list[int] = []
        self.takes = {Target.STATE: self.take_sums, Target.REFERENCE: self.take_references}

    def expects(self, entered: int) -> int:
        """Return from when it takes beats of the next transfer, which ``entered`` its queue."""
        return max(entered + TransferQueue.LATENCY, self.ends[-1] + 1 if self.ends else 0)

    def hold(self, target: Target) -> int:
        """Return for how many cycles it holds a beat."""
        return self.hw.lanes if target == Target.TABLE else 1

    def take_sums(self, number: int, cycle: int) -> int:
        """Return when it takes beat ``number`` of kept sums that is there in ``cycle``."""
        return self.passing.free(cycle) if number % 2 else cycle

    def take_references(self, number: int, cycle: int) -> int:
        """Return when it takes beat ``number`` of references that is there in ``cycle``."""
        return self.updates.free(self.updates.free(cycle) + 1)
