"""Descriptors to items, and the units that work behind or ahead of them."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import (
    CornerTurn,
    Drain,
    Gate,
    LayerNorm,
    NormalizeLane,
    RowReader,
    Softmax,
    Writeback,
)
from deltamoe.rtl.program import Attention, Dest, Linear, Mode
from deltamoe.sim.items import Item, Place, Sink


@dataclass(frozen=True, kw_only=True)
class PartialAttention(Attention):
    """An attention of which only ``keys`` scores of each row are made, as no hardware does yet."""

    keys: int


def keys_of(attention: Attention) -> int:
    """Return the scores of a row that are made."""
    return attention.keys if isinstance(attention, PartialAttention) else attention.rows


class RowSink(Sink):
    """Memories that words are written to as they come; rows count once they are there."""

    def __init__(self, hw: HwConfig) -> None:
        super().__init__()
        self.written = Drain.latency(hw) + Writeback.LATENCY
        self.done = Drain.latency(hw) + Writeback.DONE

    def take(self, item: Item, end: int) -> None:
        self.end = end + self.done
        if item.closes:
            self.rows.append(self.end + 1)


class ResidualSink(RowSink):
    """The residual stream; while a word is added, no other is read."""

    def __init__(self, hw: HwConfig, adds: list[tuple[int, int]]) -> None:
        super().__init__(hw)
        self.adds = adds

    def take(self, item: Item, end: int) -> None:
        super().take(item, end)
        last = end + self.written
        self.adds.append((last - item.drained + 1, last))


class KeySink(RowSink):
    """The corner turn: a block of tokens leaves once it is complete."""

    def __init__(self, hw: HwConfig, columns: int, rows: int) -> None:
        super().__init__(hw)
        self.hw, self.columns, self.left = hw, columns, rows
        self.tokens = self.ended = 0

    def take(self, item: Item, end: int) -> None:
        self.end = end + self.done
        if not item.closes:
            return
        self.tokens += 1
        self.left -= 1
        if self.tokens % self.hw.word == 0 or not self.left:
            first = max(end + self.written + CornerTurn.LATENCY, self.ended + 1)
            self.ended = first + self.columns - 1


class GateSink(Sink):
    """The gate: tokens are ranked, exponentiated and divided one behind the other."""

    credits = Gate.TOKENS

    def __init__(self, hw: HwConfig, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.latency = Drain.latency(hw)
        self.scan, self.top_k = Gate.steps(num_experts), top_k
        self.ranked = self.free = self.ended = 0
        self.routed: list[int] = []

    def take(self, item: Item, end: int) -> None:
        self.end = end + self.latency
        if item.closes:
            begun = max(self.end + Gate.FETCHED, self.ranked + 1) + self.scan
            room = self.routed[-Gate.ROUTED] + 1 if len(self.routed) >= Gate.ROUTED else 0
            self.ranked = max(begun, self.free, room)
            self.free = self.ranked + 1 + max(self.scan, self.top_k)
            self.freed.append(self.ranked + self.scan)
            self.ended = self.ranked + self.scan + Gate.LATENCY + self.top_k
            self.routed.append(self.ended)


class AttentionSink(RowSink):
    """The softmax behind the scores; the activation memory behind the values."""

    credits = Softmax.ROWS

    def __init__(self, hw: HwConfig, words: int) -> None:
        super().__init__(hw)
        self.words = words
        self.free = 0
        self.ready: list[int] = []

    def take(self, item: Item, end: int) -> None:
        if item.needs is not None:
            super().take(item, end)
        elif item.closes:
            self.free = max(end + self.written + Softmax.FOUND, self.free) + self.words
            left = self.free - 1 + Softmax.POWER
            self.freed.append(left)
            self.ready.append(left + Softmax.DIVISION + 1)


def read_words(first: int, words: int, adds: list[tuple[int, int]], position: int,
               ) -> tuple[int, int]:
    """Return the cycle of a row's last read, from ``first`` on, between the ``adds``.

    ``position`` is the first of them that may matter, and is returned moved on.
    """
    cycle = first
    while words:
        while position < len(adds) and adds[position][1] < cycle:
            position += 1
        if position < len(adds) and adds[position][0] <= cycle:
            cycle = adds[position][1] + 1
            continue
        gap = adds[position][0] - cycle if position < len(adds) else words
        read = min(words, gap)
        words -= read
        cycle += read
    return cycle - 1, position


def norm_rows(start: int, rows: int, words: int, available: Callable[[int], int],
              adds: list[tuple[int, int]]) -> list[int]:
    """Return the cycle from which each row may be read; ``available`` when its input may.

    ``adds`` are the cycles in which the residual stream's read port is taken.
    """
    last, taken, read, ready = start + RowReader.LATENCY - 3, -1, [], []
    position = bisect_left(adds, start, key=lambda add: add[1])
    for row in range(rows):
        first = max(last + 2, available(row))
        if row >= LayerNorm.ROWS:
            first = max(first, read[row - LayerNorm.ROWS] + 1)
        last, position = read_words(first, words, adds, position)
        summed = max(last + 1 + LayerNorm.SUMMED, taken + 1)
        taken = max(summed + LayerNorm.SCALAR, read[-1] if read else 0)
        read.append(taken + 2 * words)
        ready.append(read[-1] + NormalizeLane.LATENCY + 2)
    return ready


def word_events(operand: np.ndarray | None, rows: int, depth: int, word: int, parts: int,
                skipped: float | None, together: int = 1) -> list[tuple[tuple[int, ...], ...]]:
    """Events of every part of every read of ``together`` words, of every row.

    Elements of ``operand`` that are ``skipped`` are not sent; all are if none is.
    """
    reads = -(-depth // (together * word))
    if skipped is None:
        sent = np.ones((1, depth), bool)
    elif operand is None:
        raise ValueError("skipping needs the operands of a golden run")
    else:
        sent = operand.reshape(-1, depth) != skipped
    padded, inner = np.pad(sent, ((0, 0), (0, reads * together * word - depth))), parts // together
    counted = padded.reshape(len(sent), reads, together, inner, word // inner).sum(-1)
    counted = counted.transpose(0, 3, 2, 1).reshape(len(sent), parts, reads)
    made = [tuple(map(tuple, row)) for row in counted.tolist()]
    same = [(row[0],) if len(set(row)) == 1 else row for row in made]
    return same * rows if len(same) == 1 else same


def steady_events(events: tuple[tuple[int, ...], ...]) -> int:
    """Return the events of a part if all parts have equally many and no word has none."""
    return sum(events[0]) if len(events) == 1 and all(events[0]) else 0


def skipped_of(layer: Linear) -> int | None:
    """Return which elements of an operand are not sent; of a delta layer, which are not marked."""
    if layer.mode == Mode.ZERO_SKIP:
        return layer.zero_point
    return 0 if layer.mode == Mode.DELTA and not layer.fresh else None


def linear_items(layer: Linear, operand, remembered: Sequence[bool], hw: HwConfig,
                 place: Place) -> Iterator[Item]:
    """Items of a ``LINEAR`` in issue order; ``remembered`` rows have a state to start from."""
    depth, words, rows = layer.depth, layer.columns // hw.word, len(remembered)
    together = hw.read_words if layer.wide else 1
    is_gate, reads = layer.dest == Dest.GATE, -(-depth // (together * hw.word))
    if layer.mode == Mode.REPLAY:
        reads, depth = 1, depth % hw.word or hw.word
    waits = layer.norm or layer.by_row
    events = [((0,),)] * rows if layer.mode == Mode.REPLAY else word_events(
        operand, rows, depth, hw.word, place.parts, skipped_of(layer), together)
    passes = [(column, min(2 * place.gang, words - column))
              for column in range(0, words, 2 * place.gang)]
    known: dict[int, tuple[int, int]] = {}
    for row, known_row in enumerate(remembered):
        own = events[row]
        sent, steady = known.setdefault(id(own), (
            sum(map(sum, own)) * place.parts // len(own), steady_events(own)))
        for column, width in passes:
            yield Item(own, reads, sent, steady, depth, width * hw.word, width,
                       row if waits else None, 0, is_gate and column == 0, column + width == words,
                       known_row)


def attention_items(attention: Attention, scores, values, hw: HwConfig,
                    place: Place) -> Iterator[Item]:
    """Items of an ``ATTENTION`` in issue order; operands are (heads, tokens, depth) or None.

    Of each row, :func:`keys_of` scores are made.
    """
    tokens, dim, heads = attention.rows, attention.head_dim, attention.heads
    keys = keys_of(attention)
    skipped = 0 if attention.mode == Mode.ZERO_SKIP else None
    sets, wide = hw.groups // place.set_size, hw.lanes * place.gang
    depths = [depth if operand is None else operand.shape[-1]
              for operand, depth in ((scores, dim), (values, tokens))]
    queries, weights = (
        word_events(None if operand is None else np.swapaxes(operand, 0, 1),
                    tokens * heads, depth, hw.word, 1, skipped)
        for operand, depth in zip((scores, values), depths, strict=True))
    lag = hw.attention_lag

    def tiles(events, depth: int, elements: int, row: int, *, is_values: bool) -> Iterator[Item]:
        head, sent, steady = row % heads, sum(events[0]), steady_events(events)
        for column in range(0, elements, wide):
            columns = min(wide, elements - column)
            last = column + wide >= elements
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
