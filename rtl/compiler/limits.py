"""What hardware can hold."""

from collections.abc import Iterable

from deltamoe.rtl.config import HwConfig

Limits = Iterable[tuple[str, int, int]]
"""Names, values and the most that each may be."""


def beyond(hw: HwConfig, limits: Limits) -> str | None:
    """Return the first dimension that exceeds its maximum, with both; None if none does."""
    return next((f"{name}={value} exceeds {hw.name}'s maximum {most}"
                 for name, value, most in limits if value > most), None)


def within(owner: str, hw: HwConfig, limits: Limits) -> None:
    """Refuse what the hardware cannot hold.

    Raises
    ------
    ValueError
        Names the dimension, its value and what is allowed.
    """
    found = beyond(hw, limits)
    if found:
        raise ValueError(f"{owner}: {found}")
