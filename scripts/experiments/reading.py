"""Mappings from YAML files, checked, with errors of one line."""

from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

SUFFIXES = (".yaml", ".yml")


class Strict(BaseModel):
    """A mapping with known keys; what is no mapping stands for its key ``SHORT``, if it has one."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    SHORT: ClassVar[str] = ""

    @classmethod
    def keys(cls, value: dict) -> list[str]:
        """Return the keys that a mapping may have."""
        return list(cls.model_fields)

    @model_validator(mode="before")
    @classmethod
    def known(cls, value: Any) -> Any:
        """Refuse keys that mean nothing."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict) and cls.SHORT:
            value = {cls.SHORT: value}
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is not a mapping with {', '.join(cls.keys({}))}")
        for key in value:
            if key not in cls.keys(value):
                raise ValueError(f"unknown key {key!r}; allowed are {', '.join(cls.keys(value))}")
        return value

    def changed(self, **values: object) -> Self:
        """Return it with other values.

        Raises
        ------
        ValueError
            They are not allowed; see :func:`fault`.
        """
        return type(self).model_validate(self.model_dump(exclude_unset=True) | values)


Kind = TypeVar("Kind", bound=Strict)


def fault(error: ValueError) -> str:
    """Return in one line what an error says: of a mapping the place, and what is allowed."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}"
                    for part in first["loc"] if part != "[key]").lstrip(".")
    said, value = first["msg"].removeprefix("Value error, "), repr(first["input"])
    if not isinstance(first["input"], dict) and value not in said and ", not " not in said:
        said += f", not {value}"
    return f"{place}: {said}" if place else said


def checked(kind: type[Kind], content: object, source: str) -> Kind:
    """Return a mapping's values.

    Raises
    ------
    ValueError
        Names the ``source``, the place in it and what is allowed.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{source}: {fault(error)}") from None


def bundled(folder: Path) -> dict[str, Path]:
    """Return the files that come along in a folder, by name."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name: str, folder: Path) -> Path:
    """Return a YAML file, which may be the name of one that comes along in ``folder``.

    Raises
    ------
    ValueError
        It is neither.
    """
    known = bundled(folder)
    if name not in known and Path(name).suffix not in SUFFIXES:
        raise ValueError(f"{name!r} is neither a .yaml file nor one of {', '.join(known)}")
    return known.get(name, Path(name))


def read(kind: type[Kind], path: Path) -> Kind:
    """Return what a file holds.

    Raises
    ------
    ValueError
        Names the file, the place in it and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {error}") from None
    return checked(kind, content, str(path))
