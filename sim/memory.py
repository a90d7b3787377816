"""Transfers between memory and chip, beat by beat, as the DMA masters make them.

The memory answers a read burst ``latency`` cycles after its address, or right behind the burst
before it, one beat a cycle; it acknowledges a write burst ``latency`` cycles after its last beat.
"""

from dataclasses import dataclass

from rtl.config import HwConfig
from rtl.memory.bursts import PAGE


@dataclass(frozen=True)
class MemoryModel:
    """Cycles from a read address to its first beat, and from a write's last beat to its answer."""

    latency: int = 20

    def __post_init__(self) -> None:
        if self.latency < 1:
            raise ValueError(f"memory latency {self.latency} is not at least 1 cycle")


def bursts(address: int, beats: int, hw: HwConfig) -> list[int]:
    """Beats of each burst of a transfer."""
    made = []
    while beats:
        to_page = (PAGE - address % PAGE) // hw.bus_bytes
        made.append(min(beats, to_page, hw.burst_beats))
        beats -= made[-1]
        address += made[-1] * hw.bus_bytes
    return made


def read(start: int, address: int, beats: int, hw: HwConfig, memory: MemoryModel,
         interval: int = 1) -> int:
    """Return the cycle of the last beat of a read whose command enters in ``start``.

    Every beat is held for ``interval`` cycles before it is taken.
    """
    asked, last, ends = start, start, []
    for number, length in enumerate(bursts(address, beats, hw)):
        asked += 1
        if number >= hw.outstanding:
            asked = max(asked, ends[number - hw.outstanding] + 1)
        first = asked + memory.latency if not ends else max(asked + memory.latency, last + 1)
        last = first + length * interval - 1
        ends.append(last)
    return last


def write(start: int, address: int, beats: int, hw: HwConfig, memory: MemoryModel) -> int:
    """Return the cycle of the last answer of a write whose command enters in ``start``."""
    answered = start
    for length in bursts(address, beats, hw):
        answered += 1 + length + memory.latency
    return answered
