"""State that streams through a window on the chip."""

import pytest

from deltamoe.rtl.compiler.kept_state import Window
from deltamoe.sim.ports import Busy


def test_windows_are_handed_out_round_and_round() -> None:
    window = Window(100, 10, "state_words")
    assert window.take(6, "a") == (100, 0, 0)
    window.use(100, 6, stores=3)
    assert window.take(4, "b") == (106, 0, 0)
    window.use(106, 4, computes=7)
    assert window.take(7, "c") == (100, 7, 3)
    with pytest.raises(ValueError, match="d keeps 11 state_words at a time, the hardware has 10"):
        window.take(11, "d")


def test_busy_ports() -> None:
    busy = Busy()
    for first, last in ((3, 4), (5, 5), (9, 12)):
        busy.add(first, last)
    assert [busy.free(cycle) for cycle in (2, 3, 5, 6, 9, 12, 13)] == [2, 6, 6, 6, 13, 13, 13]
