"""Bursts of a transfer: none is longer than the hardware's, nor crosses the end of a page.

With several ports, each is within one of the blocks that they take turns in.
"""

from deltamoe.rtl.config import PAGE, HwConfig


def bursts(address: int, beats: int, hw: HwConfig) -> list[int]:
    """Return the beats of each burst of a transfer, all ports' together."""
    lengths, page = [], PAGE if hw.memory_ports == 1 else hw.block_bytes
    while beats:
        to_page = (page - address % page) // hw.bus_bytes
        lengths.append(min(beats, to_page, hw.burst_beats))
        beats -= lengths[-1]
        address += lengths[-1] * hw.bus_bytes
    return lengths
