"""One line of the catalog."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from golden.sparsity.mechanism import Mechanism, Parameter


def entry(name: str, family: str, source: str, executes: str, skips: str, rule: str,
          **parameters: Parameter) -> Mechanism:
    """Return a mechanism whose ``rule`` is ``module.Class`` of :mod:`golden.sparsity.rules`."""
    module, made = rule.split(".")

    def frames(record: Any, **values: float) -> Sequence[Any]:
        run = import_module("golden.sparsity.run")
        chosen = getattr(import_module(f"golden.sparsity.rules.{module}"), made)
        return run.frames(record, chosen(record, **values), name)

    return Mechanism(name, family, source, executes, skips, parameters, frames)


def share(default: float, meaning: str, low: float = 0.0) -> Parameter:
    """Return a parameter in 0..1."""
    return Parameter(default, low, 1.0, meaning)
