"""The reference: which bits come out. Only this package imports PyTorch."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``golden.trace``, which needs torch, when it is first asked for."""
    if name == "trace":
        return import_module("deltamoe.golden.sparsity.hooks").trace
    raise AttributeError(f"module 'deltamoe.golden' has no attribute {name!r}")
