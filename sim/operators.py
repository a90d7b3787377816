"""Descriptors to items, and the units that work behind or ahead of them."""

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np

from rtl.arith.divider import Divider
from rtl.attention.corner_turn import CornerTurn
from rtl.attention.softmax import Softmax
from rtl.config import HwConfig
from rtl.layer_norm import LayerNorm
from rtl.linear.drain import Drain
from rtl.memory.row_reader import RowReader
from rtl.moe.gate import Gate
from rtl.normalize_lane import NormalizeLane
from rtl.program import Dest, Mode
from rtl.writeback import Writeback
from sim.datapath import Item, Sink

WRITTEN = Drain.LATENCY + Writeback.LATENCY


class KeySink(Sink):
    """The corner turn: a block of tokens leaves once it is complete."""

    def __init__(self, hw: HwConfig, columns: int, rows: int) -> None:
        super().__init__()
        self.hw, self.columns, self.rows = hw, columns, rows
        self.tokens = 0

    def take(self, item: Item, end: int) -> None:
        if not item.closes:
            return
        self.tokens += 1
        if self.tokens % self.hw.word == 0 or self.tokens == self.rows:
            first = max(end + WRITTEN + CornerTurn.LATENCY, self.end + 1)
            self.end = first + self.columns - 1


class GateSink(Sink):
    """The gate: one token at a time."""

    credits = 1

    def __init__(self, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.cycles = Gate.cycles(num_experts, top_k)

    def take(self, item: Item, end: int) -> None:
        if item.closes:
            self.end = end + Drain.LATENCY + self.cycles
            self.freed.append(self.end)


class AttentionSink(Sink):
    """The softmax behind the scores; the activation memory behind the values."""

    credits = 2

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = words
        self.divided = -Divider.LATENCY - 1
        self.ready: list[int] = []

    def take(self, item: Item, end: int) -> None:
        if item.needs is not None:
            super().take(item, end)
        elif item.closes:
            read = max(end + WRITTEN + 1, self.divided)
            self.divided = max(read + self.words, self.divided + Divider.LATENCY + 1)
            self.freed.append(self.divided + 1)
            self.ready.append(self.divided + Softmax.DIVISION + 1)


def norm_rows(start: int, rows: int, words: int):
    """Return a function of the row that gives the cycle from which it may be read."""

    @cache
    def times() -> list[int]:
        begun, read, ready = start + RowReader.LATENCY, [], []
        for row in range(rows):
            if row > 1:
                begun = max(begun, read[row - 2] + 1)
            scalar = max(begun + words, read[-1] + 1 if read else 0)
            read.append(scalar + LayerNorm.SCALAR + words - 1)
            ready.append(read[-1] + NormalizeLane.LATENCY + 2)
            begun += words
        return ready

    return lambda row: times()[row]


def word_events(operand: np.ndarray | None, rows: int, depth: int, word: int,
                fields: Mapping[str, int]) -> list[tuple[int, ...]]:
    """Events of every word of every row."""
    words = -(-depth // word)
    if fields.get("mode", 0) == Mode.DENSE:
        dense = (word,) * (words - 1) + (depth - (words - 1) * word,)
        return [dense] * rows
    if operand is None:
        raise ValueError("zero-skipping needs the operands of a golden run")
    sent = operand.reshape(-1, depth) != fields.get("zero_point", 0)
    padded = np.pad(sent, ((0, 0), (0, words * word - depth)))
    return [tuple(row) for row in padded.reshape(-1, words, word).sum(-1).tolist()]


def linear_items(fields: Mapping[str, int], rows: int, operand, hw: HwConfig,
                 gang: int) -> Iterator[Item]:
    """Items of a ``LINEAR`` in issue order."""
    depth, words = fields["depth"], fields["columns"] // hw.word
    is_gate = fields["dest"] == Dest.GATE
    events = word_events(operand, rows, depth, hw.word, fields)
    for row in range(rows):
        for column in range(0, words, 2 * gang):
            width = min(2 * gang, words - column)
            yield Item(events[row], depth, width * hw.word, width,
                       row if fields.get("norm") else None,
                       is_gate and column == 0, column + width == words)


def attention_items(fields: Mapping[str, int], scores, values, hw: HwConfig) -> Iterator[Item]:
    """Items of an ``ATTENTION`` in issue order; operands are (heads, tokens, depth) or None."""
    tokens, dim, heads = fields["rows"], fields["columns"], fields["heads"]
    by_row = [None if operand is None else np.swapaxes(operand, 0, 1).reshape(tokens * heads, -1)
              for operand in (scores, values)]
    queries = word_events(by_row[0], tokens * heads, dim, hw.word, fields)
    weights = word_events(by_row[1], tokens * heads, tokens, hw.word, fields)
    lag = hw.attention_lag

    def tiles(events, depth: int, elements: int, row: int | None) -> Iterator[Item]:
        for column in range(0, elements, hw.lanes):
            columns = min(hw.lanes, elements - column)
            yield Item(events, depth, columns, -(-columns // hw.word), row,
                       row is None and column == 0, column + hw.lanes >= elements)

    for row in range(tokens * heads + lag):
        if row < tokens * heads:
            yield from tiles(queries[row], dim, tokens, None)
        if row >= lag:
            yield from tiles(weights[row - lag], tokens, dim, row - lag)
        if row == tokens * heads - 1 and row < lag:
            yield from (item for late in range(row + 1) for item in
                        tiles(weights[late], tokens, dim, late))
            return
