"""Presets by name, with an error that lists them."""

from rtl.config import PRESETS, HwConfig


def hardware(name: str) -> HwConfig:
    """Return a hardware preset.

    Raises
    ------
    ValueError
        No such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"hardware {name!r} is not one of {', '.join(PRESETS)}")
    return PRESETS[name]
