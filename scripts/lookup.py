"""Presets by name, with an error that lists them, and the clocks assumed for them."""

from collections.abc import Iterable

from deltamoe.golden.config import MODELS
from deltamoe.rtl.config import PRESETS, HwConfig

CLOCKS_MHZ = {"zcu102": 300.0, "ulx3s": 60.0}
"""Clock by preset: of the published accelerators on that board; of an SDRAM at the clock."""

DEFAULT_CLOCK_MHZ = 100.0
"""Clock of a preset that is for no board."""


TRAINED = ("digits",)
"""Presets of networks whose weights are trained; those of the others are drawn."""


def weights(model: str) -> str:
    """Return ``trained`` or ``seeded``, as the weights of a preset are, or ``given`` for a file."""
    if model in TRAINED:
        return "trained"
    return "seeded" if model in MODELS else "given"


def file_of(name: str | None, known: Iterable[str] = MODELS) -> str | None:
    """Return a name that may be that of a file, None if it is one of those ``known``."""
    return None if name in known else name


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


def clock(hw: HwConfig, given: float | None = None) -> float:
    """Return the clock in MHz: the one given, or what is assumed for the preset."""
    return CLOCKS_MHZ.get(hw.name, DEFAULT_CLOCK_MHZ) if given is None else given
