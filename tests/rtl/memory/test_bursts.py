"""Transfers cut into bursts."""

import numpy as np

from deltamoe.rtl import formats
from deltamoe.rtl.memory.bursts import BURST, Bursts
from deltamoe.sim.units.bursts import bursts
from tests.support import pysim
from tests.support.case import PATTERNS, Case, pack
from tests.support.cases import HW


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
