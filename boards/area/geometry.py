"""What of a design follows from its geometry alone: instances, multipliers and memories.

Each unit's record says what it has; here is what of the part that takes. Multipliers and
distributed memories are exact. Block memories are mapped to UltraScale+: each to the one shape of
which it needs the least. That is an upper bound of what Yosys takes, at most 1 % high for a whole
design: it takes a narrower shape for the bits beyond whole primitives, and none for bits that
nobody reads.
"""

from collections.abc import Iterator

from deltamoe.boards.synthesis.units import UNITS
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.record import Area, Ram

SHAPES = ((36, 512, 0.5), (18, 1024, 0.5), (9, 2048, 0.5), (4, 4096, 0.5), (2, 8192, 0.5),
          (1, 16384, 0.5), (72, 512, 1), (36, 1024, 1), (18, 2048, 1), (9, 4096, 1), (4, 8192, 1),
          (2, 16384, 1), (1, 32768, 1))
"""Width, depth and size in BRAM36 of a block RAM with one write and one read port, AMD UG573."""

LANE = 9
"""Bits of a block RAM that are written apart."""


def areas(hw: HwConfig) -> Iterator[tuple[str, int, Area]]:
    """Return name, instances and area of each unit that occurs."""
    for name, unit in UNITS.items():
        area = unit.record.area
        if area.instances(hw):
            yield name, area.instances(hw), area


def blocks(ram: Ram) -> float:
    """Return the BRAM36 of memories, all of one shape; Yosys may take less."""
    width = ram.width
    if ram.parts > 1:
        width = ram.parts * LANE * -(-width // ram.parts // LANE)
    return ram.copies * min(-(-width // wide) * -(-ram.depth // deep) * size
                            for wide, deep, size in SHAPES)


def luts(ram: Ram) -> int:
    """Return the LUTs of distributed memory: eight are 32 words of 14 bits or 64 of 7, AMD UG974.

    Each has one read port, so that another port is another copy.
    """
    return 8 * ram.copies * min(-(-ram.width // 14) * -(-ram.depth // 32),
                                -(-ram.width // 7) * -(-ram.depth // 64))


def multipliers(hw: HwConfig) -> int:
    """Return DSP48E2s."""
    return sum(count * area.multipliers(hw) for _, count, area in areas(hw))


def block_rams(hw: HwConfig) -> float:
    """Return BRAM36 at most."""
    return sum(count * sum(map(blocks, area.block(hw))) for _, count, area in areas(hw))
