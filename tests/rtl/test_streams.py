"""Every stream unit against its golden model, under three patterns of traffic."""

import pytest

from tests.support import pysim
from tests.support.case import PATTERNS
from tests.support.cases import MAKERS, make


@pytest.mark.parametrize("draw", range(2))
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", MAKERS)
def test_matches_golden(name: str, pattern: str, draw: int, seed: int) -> None:
    case = make(name, 2 * seed + draw)
    cycles = pysim.run(case, pattern, seed)
    if pattern == "full_rate" and case.cycles is not None:
        assert cycles == case.cycles
