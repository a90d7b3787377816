"""What every function of the face returns: figures for a program, a table for people."""

import base64
import io
import math
from abc import ABC, abstractmethod

from rich.console import Console, RenderableType

WIDTH = 120
"""Columns of a table in a notebook."""


def finite(value: object) -> object:
    """Return a copy of figures with None for what is no finite number."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Result(ABC):
    """A result; subclasses are dataclasses."""

    @abstractmethod
    def figures(self) -> dict:
        """Return everything that a program may want to know."""

    @abstractmethod
    def table(self) -> RenderableType:
        """Return what the terminal prints, as rich renders it."""

    def to_json(self) -> dict:
        """Return what ``--json`` writes; JSON has no infinity, which becomes None."""
        return finite(self.figures())

    def _repr_html_(self) -> str:
        """Return the table, for a notebook."""
        console = Console(record=True, file=io.StringIO(), width=WIDTH, markup=False, emoji=False,
                          highlight=False)
        console.print(self.table())
        return console.export_html(inline_styles=True, code_format=(
            '<pre style="font-family:monospace;line-height:1.2">{code}</pre>'))


class Pictured(Result):
    """A result with a picture, which a notebook shows above the table."""

    @abstractmethod
    def picture(self) -> bytes:
        """Return a PNG."""

    def _repr_png_(self) -> bytes:
        """Return the picture, for a notebook that shows no HTML."""
        return self.picture()

    def _repr_html_(self) -> str:
        """Return the picture and the table, for a notebook."""
        image = base64.b64encode(self.picture()).decode()
        return f'<img src="data:image/png;base64,{image}">{super()._repr_html_()}'
