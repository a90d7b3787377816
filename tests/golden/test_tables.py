"""The committed tables are the functions they stand for."""

from fractions import Fraction

import pytest

from deltamoe.golden.tables import EXP2_8BIT, EXP2_15BIT, RSQRT


@pytest.mark.parametrize(("table", "bits"), [(EXP2_8BIT, 8), (EXP2_15BIT, 15)])
def test_exponentials_are_rounded_to_nearest(table: tuple[int, ...], bits: int) -> None:
    steps = len(table)
    assert steps == {8: 64, 15: 256}[bits]
    for f, value in enumerate(table[1:], start=1):
        # value - 1/2 <= 2**(bits - f/steps) <= value + 1/2, raised to the power `steps`.
        power = 2 ** (bits * steps - f)
        assert Fraction(2 * value - 1, 2) ** steps <= power <= Fraction(2 * value + 1, 2) ** steps
    assert table[0] == 2**bits - 1


def test_reciprocal_roots_are_rounded_to_nearest() -> None:
    assert len(RSQRT) == 96
    for i, value in enumerate(RSQRT, start=32):
        square = Fraction(2**32 * 64, 2 * i + 1)
        assert Fraction(2 * value - 1, 2) ** 2 <= square
        assert value == 65535 or square <= Fraction(2 * value + 1, 2) ** 2
