"""Transfers cut into bursts."""

from dataclasses import replace

import numpy as np
import pytest

from deltamoe.rtl import formats
from deltamoe.rtl.memory.bursts import BURST, Bursts
from deltamoe.sim.units.bursts import bursts
from tests.support import pysim
from tests.support.case import PATTERNS, Case, pack
from tests.support.cases import HW

PAGE = 4096


def test_bursts_match_the_simulator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    commands, expected = [], []
    for _ in range(25):
        address, beats = HW.bus_bytes * int(rng.integers(0, 2000)), int(rng.integers(1, 700))
        commands.append(pack(formats.COMMAND, {"address": address, "beats": beats}))
        lengths = bursts(address, beats, HW)
        for number, length in enumerate(lengths):
            assert address // 4096 == (address + length * HW.bus_bytes - 1) // 4096
            assert 1 <= length <= HW.burst_beats
            expected.append(pack(BURST, {"address": address, "beats": length, "single": length == 1,
                                         "last": number == len(lengths) - 1}))
            address += length * HW.bus_bytes
        assert sum(lengths) == beats
    for pattern in PATTERNS:
        pysim.run(Case("bursts", lambda: Bursts(HW), {"i": commands}, {"o": expected}), pattern,
                  seed)


@pytest.mark.parametrize("longest", [HW.burst_beats, 5])
def test_every_distance_from_the_end_of_a_page(longest: int, seed: int) -> None:
    """The page's beats in bursts of ``longest`` and one of what is left, then a burst beyond it."""
    hw, commands, expected = replace(HW, burst_beats=longest), [], []
    for before in range(1, 3 * longest + 1):
        address = PAGE - before * hw.bus_bytes
        lengths = [longest] * (before // longest) + [before % longest] * (before % longest > 0)
        lengths += [longest, 1]
        commands.append(pack(formats.COMMAND, {"address": address, "beats": sum(lengths)}))
        for number, length in enumerate(lengths):
            expected.append(pack(BURST, {"address": address, "beats": length, "single": length == 1,
                                         "last": number == len(lengths) - 1}))
            address += length * hw.bus_bytes
    pysim.run(Case("bursts", lambda: Bursts(hw), {"i": commands}, {"o": expected}), "full_rate",
              seed)
