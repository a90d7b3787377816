"""Compute descriptors on the datapath: one operator after the other."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from deltamoe.golden.sparsity.names import ATTENTION
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Fifo, ItemGenerator, OperandSource
from deltamoe.rtl.label import Label, Subject
from deltamoe.rtl.program import (
    Attention,
    Compute,
    Dest,
    Linear,
    Load,
    Mode,
    Operator,
    Source,
    Store,
    Target,
)
from deltamoe.sim.datapath import Pipeline
from deltamoe.sim.facts import Facts
from deltamoe.sim.items import Item, Kept, Place
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.units.attention_items import attention_items, keys_of
from deltamoe.sim.units.corner_turn import Keys
from deltamoe.sim.units.executor import ComputeExecutor
from deltamoe.sim.units.gate import Tokens
from deltamoe.sim.units.linear_items import linear_items
from deltamoe.sim.units.normalization import rows_normalized
from deltamoe.sim.units.probabilities import Attention as Probabilities
from deltamoe.sim.units.residual import Residual
from deltamoe.sim.units.retirement import Retirement
from deltamoe.sim.units.store_reader import StoreReader
from deltamoe.sim.units.writeback import Memories, Sink

ITEMS = ItemGenerator.LATENCY + OperandSource.HELD
"""Cycles from an operator's start until its first item may be chosen for."""


class Results(NamedTuple):
    """When the results of a compute descriptor are there.

    ``written`` is the cycle in which the last is in its memory, the corner turn or the gate;
    ``ended`` that of the last key or route if the operator is deferred; ``rows`` are the cycles
    from which its rows count.
    """

    written: int
    ended: int | None = None
    rows: Sequence[int] = ()


class Execution:
    """Runs operators; ``now`` holds the facts of the inference that the next one belongs to."""

    def __init__(self, hw: HwConfig, facts: Facts, memory: MemoryModel) -> None:
        self.hw, self.now = hw, facts
        self.pipeline = Pipeline(hw)
        self.stores = StoreReader(hw, memory, {Target.STATE: self.pipeline.sums.reads,
                                               Target.REFERENCE: self.pipeline.source.recalls})
        self.retirement = Retirement()
        self.issue = ComputeExecutor(self.retirement, self.stores)
        self.counters = self.pipeline.counters
        self.rows_ready: list[Sequence[int]] = []  # cycles from which each operator's rows count
        self.adds: list[tuple[int, int]] = []  # cycles in which words are added to the residual
        self.passed: Counter[Subject] = Counter()  # rows of each layer that comes in blocks of them

    def tokens(self, label: Label, queue: int) -> int:
        """Tokens in a queue of a layer: of an expert, or its silent one."""
        layer = label.operator.layer
        if queue < self.hw.max_experts:
            return int(self.now.routed[layer][queue])
        return int(self.now.silent[layer][queue - self.hw.max_experts])

    def wanted(self, label: Label, load: Load) -> int:
        """Tokens of the expert that a load is for; a load of no beats is wanted by none."""
        return self.tokens(label, load.expert) if load.beats else 0

    def rows(self, label: Label, operator: Operator) -> int:
        """Rows of an operator: its own, or the tokens of its queue."""
        queued = isinstance(operator, Linear) and operator.queued
        return self.tokens(label, operator.queue) if queued else operator.rows

    def silent(self, label: Label, layer: Linear) -> int:
        """Rows that a layer leaves out because they did not change."""
        if not layer.queued or layer.queue >= self.hw.max_experts:
            return 0
        number = label.operator.layer
        return int(self.now.silent[number][layer.queue]) if number in self.now.silent else 0

    def execute(self, label: Label, descriptor: Compute, start: int, drain: int) -> Results:
        """Run a compute descriptor issued in ``start`` that may drain from ``drain`` on."""
        if isinstance(descriptor, Store):
            self.issue.free = start + 1
            self.counters["bytes_written"] += descriptor.beats * self.hw.bus_bytes
            self.stores.entered.append((drain, descriptor))
            if descriptor.target == Target.RESIDUAL:
                drain = self.stores.end(len(self.stores.entered) - 1)
            return Results(drain)
        rows = self.rows(label, descriptor)
        if not rows:
            self.issue.free = start + 1
            return Results(drain)
        if isinstance(descriptor, Attention):
            return self.attention(label, descriptor, start, drain)
        if descriptor.dest == Dest.CHANGED:
            return self.probe(label, descriptor, start, drain)
        return self.linear(label, descriptor, rows, start, drain)

    def linear(self, label: Label, layer: Linear, rows: int, start: int, drain: int) -> Results:
        """Run ``rows`` rows of a ``LINEAR``."""
        hw, sink = self.hw, self.sink(layer, rows)
        place = Place(hw.gangs[layer.gang], 1 << layer.split, hw.groups)
        available = self.available(layer, start)
        if layer.dest == Dest.GATE:
            self.counters["routes"] += rows * layer.top_k
        known = self.remembered(label, layer, rows)
        self.keep(layer, known)
        items = linear_items(layer, self.known(label, layer, rows), known, hw, place)
        first = start + ITEMS
        self.pipeline.begin(label, first, drain, place, available, sink, self.kept(layer))
        self.pipeline.losses.operator(str(label), first, "layer norm" if layer.norm else "rows")
        self.collect(items)
        return Results(sink.end, sink.ended, sink.rows)

    def known(self, label: Label, layer: Linear, rows: int):
        """Return the operand of a ``LINEAR``, or what is sent of it, of the next block of rows."""
        if layer.mode != Mode.DELTA:
            operand = self.now.operands.get(label.subject) if label.role is None else None
            if operand is None or label.section is None:
                return operand
            row, depth = label.section
            whole = operand.reshape(-1, operand.shape[-1])
            return whole[row : row + rows, depth : depth + layer.depth]
        sent = self.now.sent.get(label.subject)
        if sent is None or len(sent) == rows:
            return sent
        first = self.passed[label.subject] % len(sent)
        self.passed[label.subject] += rows
        return sent[first : first + rows]

    def remembered(self, label: Label, layer: Linear, rows: int) -> Sequence[bool]:
        """Return which rows of a ``LINEAR`` have a state to start from."""
        delta = layer.mode == Mode.DELTA
        if delta and layer.fresh:
            return [False] * rows
        known = self.now.known.get(label.subject) if delta and layer.queued else None
        return [True] * rows if known is None else known.tolist()

    def kept(self, layer: Linear) -> Kept:
        """Return which of the kept memories' ports a layer takes."""
        delta = layer.mode == Mode.DELTA
        tracks = delta and not layer.fresh
        return Kept(tracks or layer.mode == Mode.REPLAY or layer.adds,
                    tracks or layer.source == Source.REFERENCE, delta and not layer.keeps)

    def keep(self, layer: Linear, known: Sequence[bool]) -> None:
        """Count what a layer keeps of its rows, and compares with what was kept."""
        mode, hw, rows, old = layer.mode, self.hw, len(known), sum(known)
        if mode >= Mode.DELTA or layer.stores or layer.adds:
            self.counters["kept_words"] += rows * layer.columns // hw.word
        if mode == Mode.DELTA:
            words, moves = -(-layer.depth // hw.word), not layer.keeps
            read, moved = old * layer.passes * words, rows * moves * words
            self.counters["reference_words"] += read + (rows - old) * moves * words
            self.counters["references_read"] += read
            self.counters["references_moved"] += moved
        if mode >= Mode.DELTA or layer.adds:
            self.counters["sums_read"] += old * layer.columns // hw.word

    def probe(self, label: Label, layer: Linear, start: int, drain: int) -> Results:
        """Find the tokens that changed.

        The executor hands the operator on when the last row is done with, without results, so it
        has nothing to drain and counts as written in the cycle after.
        """
        words = -(-layer.depth // self.hw.word)
        changed = [True] * layer.rows if layer.fresh else self.now.changed[
            label.operator.layer]
        done = self.pipeline.probe(start, words, changed, self.available(layer, start))
        self.issue.free = done + 1
        return Results(max(drain, done + Fifo.timing.latency))

    def available(self, layer: Linear, start: int) -> Callable[[int], int]:
        """Return when row ``r`` may be read: normalized, or made by the operator before."""
        available = self.complete(layer)
        if not layer.norm:
            return available
        rows, words = layer.rows, layer.dim // self.hw.word
        self.counters["norm_words"] += rows * words
        return rows_normalized(self.hw, start, rows, words, available, self.adds).__getitem__

    def complete(self, layer: Linear) -> Callable[[int], int]:
        """Return when row ``r`` of the operator that this one waits for counts."""
        awaited = layer.wait_computes
        if not layer.by_row or not awaited:
            return lambda row: 0
        rows, done = self.rows_ready[awaited - 1], self.retirement.finished[awaited - 1]
        return lambda row: min(rows[row], done) if row < len(rows) else done

    def sink(self, layer: Linear, rows: int) -> Sink:
        """Return the unit behind the drain of a ``LINEAR``."""
        if layer.dest == Dest.KEY:
            return Keys(self.hw, layer.columns, rows)
        if layer.dest == Dest.GATE:
            return Tokens(self.hw, layer.num_experts, layer.top_k)
        if layer.dest in (Dest.RESIDUAL, Dest.COMBINE, Dest.OUTPUT):
            return Residual(self.hw, self.adds)
        return Memories(self.hw)

    def attention(self, label: Label, attention: Attention, start: int, drain: int) -> Results:
        """Run an ``ATTENTION``."""
        hw, operands = self.hw, self.now.operands
        words = -(-keys_of(attention) // hw.word)
        sink = Probabilities(hw, words)
        self.counters["softmax_words"] += attention.rows * attention.heads * words
        place = Place(1 << attention.spread, 1 << attention.head_split,
                      hw.gangs[attention.set_size])
        released = self.retirement.finished[attention.wait_computes - 1]
        first = start + ITEMS
        self.pipeline.begin(label, first, drain, place,
                            lambda row: max(sink.ready[row], released), sink)
        self.pipeline.losses.operator(str(label), first, "softmax")
        self.collect(attention_items(
            attention, *(operands.get(label.operator.beside(part)) for part in ATTENTION),
            hw, place))
        return Results(sink.end, rows=sink.rows)

    def collect(self, items: Iterable[Item]) -> None:
        """Run an operator's items; the next is issued after the last."""
        begun = 0
        for item in items:
            begun = self.pipeline.step(item)
        self.issue.free = begun + 1
