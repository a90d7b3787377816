"""What makes the placement of an operator valid."""

from deltamoe.rtl.arith.select import select
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Mode, Source


def placed(linear, hw: HwConfig):
    """Whether the span is the gang for every part."""
    gang, span = (select(index, hw.gangs) for index in (linear.gang, linear.span))
    return (gang != 0) & (linear.split < len(hw.splits)) & (gang << linear.split == span)


def read_together(linear, hw: HwConfig):
    """Whether words of activations can be read ``read_words`` at a time."""
    words = hw.read_words
    if words == 1:
        return 0
    return ((linear.source == Source.ACT) & (linear.mode < Mode.DELTA)
            & (linear.gang == hw.gangs.index(hw.read_gang)) & (1 << linear.split >= words)
            & (linear.depth % (words * hw.word) == 0)
            & (linear.source_base % words == 0) & (linear.source_stride % words == 0))


def spread_valid(operator, hw: HwConfig):
    """Whether the groups of a set can be spread over."""
    allowed = select(operator.set_size, [
        sum(1 << spread for spread in hw.spreads(size)) for size in hw.gangs])
    return (operator.head_split < len(hw.splits)) & (
        allowed >> (operator.spread + operator.head_split))[0]


def alone(attention, hw: HwConfig):
    """Whether the last key would be alone in its pass, and is not the only one."""
    inside = select(attention.spread, [(hw.lanes << spread) - 1
                                       for spread in hw.spreads(hw.groups)])
    return (attention.rows != 1) & (attention.rows & inside == 1)


def values_valid(attention, hw: HwConfig):
    """Whether the groups that keys are spread over can also be shared out for the values."""
    split = attention.spread + attention.head_split - attention.value_spread
    return (split >= 0) & (split < len(hw.splits))
