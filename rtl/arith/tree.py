"""Sums of many values by a balanced tree; ``sum`` makes a chain of as many adders."""

from collections.abc import Sequence

from amaranth import Value


def total(values: Sequence[Value]) -> Value:
    """Return the sum of at least one value, as few adders behind each other as there can be."""
    half = len(values) // 2
    return total(values[:half]) + total(values[half:]) if half else values[0]
