"""How layers and heads are spread over the lane groups."""

import pytest

from rtl.config import PRESETS
from rtl.placement import Placement, place, sets_of

ZCU102 = PRESETS["zcu102"]


@pytest.mark.parametrize(("depth", "columns", "expected"), [
    (192, 192, Placement(3, 3, 1, 24, 24)),      # Q, K, V and projection of M3ViT-tiny
    (192, 768, Placement(12, 1, 1, 96, 96)),     # first dense layer
    (768, 192, Placement(3, 3, 1, 96, 96)),      # second, and the patches
    (192, 384, Placement(6, 2, 1, 48, 48)),      # an expert's first layer
    (384, 192, Placement(3, 3, 1, 48, 48)),      # and its second
    (192, 32, Placement(1, 3, 1, 24, 8)),        # a gate: three tokens at a time, half the lanes
])
def test_layers_of_tiny_waste_nothing(depth: int, columns: int, expected: Placement) -> None:
    """Cycles are the multiplications over the multipliers, where columns fill whole tiles."""
    placed = place(depth, columns, ZCU102)
    assert placed == expected
    tiles = -(-columns // ZCU102.lanes) * ZCU102.lanes
    assert placed.cycles == depth * tiles / ZCU102.mac_units
    fields = placed.fields(ZCU102)
    assert ZCU102.gangs[fields["span"]] == ZCU102.gangs[fields["gang"]] << fields["split"]


@pytest.mark.parametrize(("heads", "rows", "sets"), [
    (3, 321, 3), (6, 321, 6), (1, 400, 1), (5, 100, 1), (5, 200, 6), (4, 512, 4)])
def test_heads_share_the_groups(heads: int, rows: int, sets: int) -> None:
    """As few groups idle as fit, and then as few heads in a set as possible."""
    assert sets_of(heads, rows, ZCU102) == sets


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="weight_rows, the hardware has 512"):
        place(1024, 64 * 24 * 24, ZCU102)
    with pytest.raises(ValueError, match="513 kv_rows, the hardware has 512"):
        sets_of(3, 513, ZCU102)
