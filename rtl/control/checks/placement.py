"""What makes the placement of an operator valid."""

from collections.abc import Iterable

from amaranth import Mux

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Mode, Source


def select(index, values: Iterable):
    """Return ``values[index]``, zero beyond the end."""
    chosen = 0
    for number, value in enumerate(values):
        chosen = Mux(index == number, value, chosen)
    return chosen


def placed(given, hw: HwConfig):
    """Whether the span is the gang for every part."""
    gang, span = (select(index, hw.gangs) for index in (given.gang, given.span))
    return (gang != 0) & (given.split < len(hw.splits)) & (gang << given.split == span)


def read_together(given, hw: HwConfig):
    """Whether words of activations can be read ``read_words`` at a time."""
    words = hw.read_words
    if words == 1:
        return 0
    return ((given.source == Source.ACT) & (given.mode < Mode.DELTA)
            & (given.gang == hw.gangs.index(hw.read_gang)) & (1 << given.split >= words)
            & (given.depth % (words * hw.word) == 0)
            & (given.source_base % words == 0) & (given.source_stride % words == 0))


def spread_valid(given, hw: HwConfig):
    """Whether the groups of a set can be spread over."""
    allowed = select(given.set_size, [
        sum(1 << spread for spread in hw.spreads(size)) for size in hw.gangs])
    return (allowed >> given.spread)[0]
