"""The items of an ``ATTENTION``: scores of a row, and values of the one ``attention_lag`` before.

The first is offered as late as that of a ``LINEAR``, ``ItemGenerator.LATENCY`` cycles after
``start``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.program import Attention, Mode
from deltamoe.sim.items import Item, Place
from deltamoe.sim.units.event_encoder import steady_events, word_events
from deltamoe.sim.units.last_key import extra_keys


@dataclass(frozen=True, kw_only=True)
class PartialAttention(Attention):
    """An attention of which only ``keys`` scores of each row are made, as no hardware does yet."""

    keys: int


def keys_of(attention: Attention) -> int:
    """Return the scores of a row that are made."""
    return attention.keys if isinstance(attention, PartialAttention) else attention.rows


def attention_items(attention: Attention, scores, values, hw: HwConfig,
                    place: Place) -> Iterator[Item]:
    """Return the items in issue order; operands are (heads, tokens, depth) or None.

    Of each row, :func:`keys_of` scores are made; the last may be one more column of the pass before
    its own, see :mod:`deltamoe.sim.units.last_key`.
    """
    tokens, dim, heads = attention.rows, attention.head_dim, attention.heads
    keys = keys_of(attention)
    skipped = 0 if attention.mode == Mode.ZERO_SKIP else None
    sets = hw.groups // place.set_size
    gangs = place.gang, 1 << attention.value_spread
    depths = [depth if operand is None else operand.shape[-1]
              for operand, depth in ((scores, dim), (values, tokens))]
    queries, weights = (
        word_events(None if operand is None else np.swapaxes(operand, 0, 1),
                    tokens * heads, depth, hw.word, place.span // gang, skipped)
        for operand, depth, gang in zip((scores, values), depths, gangs, strict=True))
    lag = hw.attention_lag

    def tiles(events, depth: int, elements: int, row: int, *, is_values: bool) -> Iterator[Item]:
        head, steady = row % heads, steady_events(events)
        wide = hw.lanes * gangs[is_values]
        sent = sum(map(sum, events)) * place.span // gangs[is_values] // len(events)
        extra = 0 if is_values else extra_keys(attention)
        for column in range(0, elements - extra, wide):
            last = column + wide >= elements - extra
            columns = elements - column if last else wide
            yield Item(events, len(events[0]), sent, steady, depth, columns,
                       -(-columns // hw.word), row if is_values else None, head % sets,
                       not is_values and column == 0,
                       last and (not is_values or head == heads - 1))

    rows = tokens * heads
    for row in range(rows + lag):
        if row < rows:
            yield from tiles(queries[row], depths[0], keys, row, is_values=False)
        if lag <= row:
            yield from tiles(weights[row - lag], depths[1], dim, row - lag, is_values=True)
        if row == rows - 1 and row < lag:
            for late in range(rows):
                yield from tiles(weights[late], depths[1], dim, late, is_values=True)
            return
