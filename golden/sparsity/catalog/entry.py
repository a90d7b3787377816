"""One line of the catalog."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from deltamoe.golden.sparsity.mechanism import Mechanism, Parameter


def entry(name: str, family: str, source: str, executes: str, skips: str, rule: str,
          differs: str = "", *, calibrated: bool = False, remembers: bool = False,
          **parameters: Parameter) -> Mechanism:
    """Return a mechanism; ``rule`` is ``module.Class`` of :mod:`deltamoe.golden.sparsity.rules`."""
    def chosen(record: Any, values: dict[str, float]) -> Any:
        module, name_of_class = rule.split(".")
        rules = import_module(f"deltamoe.golden.sparsity.rules.{module}")
        return getattr(rules, name_of_class)(record, **values)

    def frames(record: Any, calibration: Any = None, **values: float) -> Sequence[Any]:
        return import_module("deltamoe.golden.sparsity.run").frames(
            record, chosen(calibration or record, values), name)

    def executed(record: Any, **values: float) -> tuple[Any, Any]:
        if record.model is None:
            raise ValueError(f"policy {name} runs on the hardware only with the network's weights")
        return chosen(record, values).executed(record.model)

    return Mechanism(name, family, source, executes, skips, parameters, differs, calibrated,
                     remembers, frames, executed if executes == "rtl" else None)


def share(default: float, meaning: str, low: float = 0.0) -> Parameter:
    """Return a parameter in 0..1."""
    return Parameter(default, low, 1.0, meaning)
