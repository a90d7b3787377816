"""One of some values, by its number."""

from collections.abc import Iterable

from amaranth import Mux, Value
from amaranth.hdl import ValueLike


def select(index: Value, values: Iterable[ValueLike], beyond: ValueLike = 0) -> ValueLike:
    """Return ``values[index]``, ``beyond`` after the last of them.

    A value that is ``beyond`` itself takes no comparison.
    """
    chosen = beyond
    for number, value in enumerate(values):
        if value is not beyond:
            chosen = Mux(index == number, value, chosen)
    return chosen
