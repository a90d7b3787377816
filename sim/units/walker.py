"""A walker: when it offers a descriptor.

It fetches @ ``f``, reads the first row of the program memory in ``f + 1`` and has it in a register
in ``f + 2``, where it sees whose descriptor it is. It fetches the next in ``f + Walker.SKIP`` if
this is one of the other walker; ``HALT`` is met then. Of an own one it reads the other rows, one a
cycle, the second in ``f + 2``, judges fields and ranges in ``Checks.LATENCY`` cycles and one for
each range, and offers it in ``f + Walker.fetch_to_offer(hw, loads)``. It fetches the next in the
cycle after that was taken.
"""

from dataclasses import dataclass

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig


@dataclass
class Walker:
    """Where a walker is: the next descriptor, and the cycle in which its fetch begins."""

    hw: HwConfig
    loads: bool
    fetch: int
    index: int = 0

    def skip(self) -> None:
        """Pass a descriptor of the other walker."""
        self.index += 1
        self.fetch += cycles.Walker.SKIP

    @property
    def offers(self) -> int:
        """The cycle from which an own descriptor is offered."""
        return self.fetch + cycles.Walker.fetch_to_offer(self.hw, self.loads)

    def take(self, accepted: int) -> None:
        """Go on behind a descriptor that was taken in ``accepted``."""
        self.index += 1
        self.fetch = accepted + 1

    @property
    def done(self) -> int:
        """The cycle from which it is done, if the next descriptor is ``HALT``."""
        return self.fetch + cycles.Walker.SKIP
