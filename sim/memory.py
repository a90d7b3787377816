"""Transfers between memory and chip, beat by beat, as the DMA masters make them.

The memory has a read burst's first beat ``latency`` cycles after its address, or ``interval``
cycles after the beat before it was taken; then one every ``interval`` cycles. It acknowledges a
write burst ``latency`` cycles after its last beat, and takes one beat every ``interval`` cycles.
"""

from collections.abc import Callable
from dataclasses import dataclass

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import PAGE


@dataclass(frozen=True)
class MemoryModel:
    """Cycles from a read address to its first beat, and from beat to beat in each direction.

    ``latency`` is also the time from a write's last beat to its answer.
    """

    latency: int = 20
    interval: int = 1

    def __post_init__(self) -> None:
        for name in ("latency", "interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"memory {name} {getattr(self, name)} is not at least 1 cycle")


def bursts(address: int, beats: int, hw: HwConfig) -> list[int]:
    """Beats of each burst of a transfer."""
    made = []
    while beats:
        to_page = (PAGE - address % PAGE) // hw.bus_bytes
        made.append(min(beats, to_page, hw.burst_beats))
        beats -= made[-1]
        address += made[-1] * hw.bus_bytes
    return made


class Reader:
    """The read master over a whole program."""

    def __init__(self, hw: HwConfig, memory: MemoryModel) -> None:
        self.hw, self.memory = hw, memory
        self.asked = -1              # cycle of the last burst's address
        self.last = -memory.interval  # cycle of the last beat
        self.ends: list[int] = []    # last beats of the bursts so far

    def read(self, command: int, address: int, beats: int, expected: int,
             hold: int = 1, take: Callable[[int, int], int] | None = None) -> tuple[int, int]:
        """Return the cycles in which the command is taken and its last beat.

        The command is offered from cycle ``command`` on. The loader takes no beat before cycle
        ``expected`` and holds each for ``hold`` cycles, or takes beat ``n`` when ``take(n, cycle)``
        says that it takes one that is there in ``cycle``.
        """
        hw, memory = self.hw, self.memory
        taken = max(command, self.asked)
        asked, last, number = taken, self.last, 0
        for length in bursts(address, beats, hw):
            asked += 1
            if len(self.ends) >= hw.outstanding:
                asked = max(asked, self.ends[-hw.outstanding] + 1)
            first = max(asked + memory.latency, last + memory.interval, expected)
            if take:
                for beat in range(length):
                    last = take(number + beat, first)
                    first = last + memory.interval
                number += length
            else:
                last = first + hold - 1 + (length - 1) * (hold - 1 + memory.interval)
            self.ends.append(last)
        self.asked, self.last = asked, last
        return taken, last
