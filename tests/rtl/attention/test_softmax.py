"""Cycles of softmax, which its docstring states and the simulator uses."""

from dataclasses import replace

import pytest

from deltamoe.rtl import formats
from deltamoe.rtl.attention.softmax import Softmax
from tests.support import pysim
from tests.support.cases import HW, P, make, words_of

PATTERN = "full_rate"


@pytest.mark.parametrize("words", [1, 2, 7])
def test_softmax(words: int) -> None:
    row = [0] * (words * P)
    case = replace(make("softmax", 0), inputs={"i": words_of(row, formats.scores(P), P)},
                   outputs={"o": words_of([255] * len(row), formats.beat(8, P), P)})
    last = 2 * words - 1 + Softmax.found(HW) + Softmax.POWER
    assert pysim.run(case, PATTERN, 0) == last
    factor = 3 * (1 << 26 if 255 * len(row) >= 4096 else 1 << 22)
    total = 255 * len(row)
    multiplier = min(65535, (factor + total // 2) // total)
    code = 3 if total >= 4096 else 2
    both = replace(case, outputs=case.outputs | {"normalizer": [multiplier | code << 16]})
    assert pysim.run(both, PATTERN, 0) == last + Softmax.division(HW)
