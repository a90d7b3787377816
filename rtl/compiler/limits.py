"""What hardware can hold."""

from collections.abc import Iterable

from deltamoe.rtl.config import HwConfig


def within(owner: str, hw: HwConfig, limits: Iterable[tuple[str, int, int]]) -> None:
    """Refuse what the hardware cannot hold: names, values and the most that each may be.

    Raises
    ------
    ValueError
        Names the dimension, its value and what is allowed.
    """
    for name, value, most in limits:
        if value > most:
            raise ValueError(f"{owner}: {name}={value} exceeds {hw.name}'s maximum {most}")
