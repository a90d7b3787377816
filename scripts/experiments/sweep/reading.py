"""Sweeps from YAML files, with errors of one line."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deltamoe.experiments.sweep.spec import Memory, Range, Spec

SWEEPS = Path(__file__).parents[1] / "sweeps"
"""Sweeps that come with the program."""


def said(error: dict[str, Any]) -> str:
    """Return place and cause of an error."""
    place = ".".join(str(part) for part in error["loc"] if part != "[key]"
                     and not str(part).startswith(("list[", "function-")))
    what = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        kind = {"memory": Memory, "explore": Range}.get(error["loc"][0], Spec)
        what = f"unknown key; allowed are {', '.join(kind.model_fields)}"
    elif not isinstance(error["input"], dict):
        what += f", not {error['input']!r}" if repr(error["input"]) not in what else ""
    return f"{place}: {what}" if place else what


def find(name: str) -> Path:
    """Return the file of a spec, which may be the name of one that comes with the program.

    Raises
    ------
    ValueError
        There is none.
    """
    if Path(name).exists():
        return Path(name)
    bundled = {path.stem: path for path in sorted(SWEEPS.glob("*.yaml"))}
    if name not in bundled:
        raise ValueError(f"{name!r} is neither a file nor one of {', '.join(bundled)}")
    return bundled[name]


def load(path: Path) -> Spec:
    """Read a spec.

    Raises
    ------
    ValueError
        Names the file, the place in it, and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a mapping with keys {', '.join(Spec.model_fields)}")
    try:
        return Spec.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {said(error.errors()[0])}") from None
