"""Standard output and error: what is printed, how wide, and what if nobody can take it."""

import io
import os
import sys
from collections.abc import Iterator
from errno import EPIPE
from signal import SIGPIPE

from rich import table
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType
from rich.measure import Measurement

from deltamoe.host.processes import Stop

WIDE = 10_000
"""Columns where output goes to no terminal, so that nothing is folded that programs may read."""


class Stream(io.TextIOWrapper):
    """A standard stream that says in its errors which it is, and has them once.

    A character that the stream's encoding lacks is written as Python's escape of it. If the reader
    of a pipe is gone the program ends as SIGPIPE would end it. After an error nothing is written
    any more, so that the interpreter's flush at its end does not fail again.
    """

    def __init__(self, stream: io.TextIOWrapper, called: str) -> None:
        super().__init__(stream.buffer, stream.encoding, "backslashreplace",
                         line_buffering=stream.line_buffering)
        self.called = called

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.fail(error)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.fail(error)

    def fail(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if error.errno == EPIPE:
            raise Stop(SIGPIPE) from None
        raise OSError(error.errno, error.strerror, self.called) from None


def open_streams() -> None:
    """Make the process's own standard streams ones of :class:`Stream`.

    Raises
    ------
    OSError
        Standard output is closed.
    """
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    if sys.stdout is None:
        raise OSError(None, "it is closed", "standard output")
    for name, called in (("stdout", "standard output"), ("stderr", "standard error")):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, Stream(stream, called))


class Screen(Console):
    """A console that cuts nothing and takes no text for markup."""

    def __init__(self, **options) -> None:
        super().__init__(markup=False, emoji=False, **options)

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's size; without a terminal, wide enough for everything."""
        return super().size if self.file.isatty() else ConsoleDimensions(WIDE, 25)

    def print(self, *objects: object, **options) -> None:
        """Print; a line that does not fit is left to the terminal to break."""
        super().print(*objects, **{"crop": False, **options})


class Table(table.Table):
    """A table that is wider than the terminal rather than break a word, a figure or a hash."""

    def __rich_console__(self, console: Console,
                         options: ConsoleOptions) -> Iterator[RenderableType]:
        for column in self.columns:
            sizes = [Measurement.get(console, options, cell)
                     for cell in (column.header, *column.cells)]
            column.min_width = max(size.maximum if column.no_wrap else size.minimum
                                   for size in sizes)
            column.overflow = "fold"
            if column.max_width is not None:
                column.max_width = max(column.max_width, column.min_width)
        yield from super().__rich_console__(console, options)
