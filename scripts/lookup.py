"""What the name of a network says: whether it is a preset or a file, and of what weights."""

from collections.abc import Iterable

from deltamoe.golden.config import MODELS

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
