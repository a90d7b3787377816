"""Bursts of a transfer: none is longer than the hardware's, nor crosses the end of a page."""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import PAGE


def bursts(address: int, beats: int, hw: HwConfig) -> list[int]:
    """Return the beats of each burst of a transfer."""
    lengths = []
    while beats:
        to_page = (PAGE - address % PAGE) // hw.bus_bytes
        lengths.append(min(beats, to_page, hw.burst_beats))
        beats -= lengths[-1]
        address += lengths[-1] * hw.bus_bytes
    return lengths
