"""One of some values, by its number."""

from collections.abc import Iterable

from amaranth import Mux, Value
from amaranth.hdl import ValueLike


def select(index: Value, values: Iterable[ValueLike], beyond: ValueLike = 0) -> ValueLike:
    """Return ``values[index]``, ``beyond`` after the last of them."""
    chosen = beyond
    for number, value in enumerate(values):
        chosen = Mux(index == number, value, chosen)
    return chosen
