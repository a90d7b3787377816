"""The kept sums: when their memory is taken.

A word that the drain selects @ ``b`` is on ``where``, with its sums, in
``b + ComputeUnit.READ_LATENCY``. If it is added to, the memory is read then, and a ``STORE`` is not
granted. It ``passes`` in the cycle after that, whether it is kept or not: it lies in the register
that a loaded word would overwrite, so loads wait.
"""

from deltamoe.rtl.cycles import ComputeUnit
from deltamoe.sim.ports import Busy

PASSES = ComputeUnit.READ_LATENCY + 1


class KeptSums:
    """The memory's ports: its reads for operators, and the adder's first register."""

    def __init__(self) -> None:
        self.reads, self.passing = Busy(), Busy()

    def drain(self, begun: int, end: int, *, adds: bool) -> None:
        """Note an item whose words are selected from ``begun`` to ``end``."""
        self.passing.add(begun + PASSES, end + PASSES)
        if adds:
            self.reads.add(begun + ComputeUnit.READ_LATENCY, end + ComputeUnit.READ_LATENCY)
