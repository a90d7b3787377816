"""Cycles of the corner turn."""

import numpy as np
import pytest

from deltamoe.rtl import formats
from deltamoe.rtl.attention.corner_turn import CornerTurn
from tests.support import pysim
from tests.support.case import Case
from tests.support.cases import HW, P, words_of

PATTERN = "full_rate"


@pytest.mark.parametrize("blocks", [1, 3])
def test_corner_turn(blocks: int) -> None:
    words, rng = 3, np.random.default_rng(0)
    rows = rng.integers(-128, 128, (blocks * P, words * P))
    inputs = [word for number, row in enumerate(rows) for word in words_of(
        row.tolist(), formats.tokens(P), P, flush=number == blocks * P - 1)]
    outputs = [word for block in rows.reshape(blocks, P, -1) for dim in block.T
               for word in words_of(dim.tolist(), formats.beat(formats.signed(8), P), P)]
    layout = formats.beat(formats.signed(8), P)
    last = 1 << (layout.size - 1)
    outputs = [word if number % (words * P) == words * P - 1 else word & ~last
               for number, word in enumerate(outputs)]
    case = Case("corner_turn", lambda: CornerTurn(HW), {"i": inputs}, {"o": outputs},
                {"words": words})
    assert pysim.run(case, PATTERN, 0) == len(inputs) + CornerTurn.LATENCY + words * P - 1
