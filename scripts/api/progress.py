"""What long work tells of how far it is, to whoever wants to know."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager

Update = Callable[..., None]
"""Takes ``completed``, ``total`` and ``description``, each only where it changed."""


class Progress:
    """Progress that nobody watches; who does overrides :meth:`bar`."""

    @contextmanager
    def bar(self, label: str, total: int | None = None) -> Iterator[Update]:
        """Begin a piece of work of ``total`` steps, if it is known how many there are."""
        yield lambda **changed: None

    def each(self, steps: Iterable, label: str, total: int | None = None) -> Iterator:
        """Yield ``steps`` and note when each is done."""
        if total is None and isinstance(steps, Sized):
            total = len(steps)
        with self.bar(label, total) as update:
            for done, step in enumerate(steps, 1):
                yield step
                update(completed=done)


QUIET = Progress()
