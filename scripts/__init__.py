"""DeltaMoE: load and quantize networks, compile, simulate and run them, compare and explore.

Each function returns a small result with ``table()`` for a terminal and ``to_json()`` for a
program; a notebook shows the table, and the picture of a result that has one. Bad input raises
ValueError with one line that names what is wrong and what is allowed. PyTorch is imported when a
network is built, Amaranth when Verilog is.
"""

from importlib import import_module
from typing import Any

FACE = {
    "Device": "deltamoe.boards.driver.device",
    "HARDWARE": "deltamoe.api.program", "MODELS": "deltamoe.api.networks",
    "build": "deltamoe.api.building",
    "compare": "deltamoe.api.comparison", "compile": "deltamoe.api.program",
    "import_network": "deltamoe.api.importing",
    "load": "deltamoe.api.networks", "quantize": "deltamoe.api.networks",
    "run_verilog": "deltamoe.api.verilog", "simulate": "deltamoe.api.simulation",
    "sweep": "deltamoe.api.sweeps", "trace": "deltamoe.api.traces",
}
"""Names and the modules that define them."""

__all__ = list(FACE)


def __getattr__(name: str) -> Any:
    """Import what is asked for, and keep it."""
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(FACE[name]), name)
    return value


def __dir__() -> list[str]:
    """Return the face, and nothing of how it is made."""
    return sorted(FACE)
