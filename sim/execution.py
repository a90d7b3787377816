"""Compute descriptors on the datapath: one operator after the other."""

from collections import Counter
from collections.abc import Sequence

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import ItemGenerator, ProbeItems
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
from deltamoe.sim import operators
from deltamoe.sim.datapath import Pipeline
from deltamoe.sim.facts import Facts
from deltamoe.sim.items import Kept, Place, Sink
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.stores import Stores


class Execution:
    """Runs operators; ``now`` holds the facts of the inference that the next one belongs to."""

    def __init__(self, hw: HwConfig, facts: Facts, memory: MemoryModel) -> None:
        self.hw, self.now = hw, facts
        self.pipeline = Pipeline(hw)
        self.stores = Stores(hw, memory, {Target.STATE: self.pipeline.adds,
                                          Target.REFERENCE: self.pipeline.recalls})
        self.counters = self.pipeline.counters
        self.computed: list[int] = []    # cycle from which each compute descriptor has finished
        self.rows_ready: list[list[int]] = []  # cycles from which each operator's rows count
        self.adds: list[tuple[int, int]] = []  # cycles in which words are added to the residual
        self.issue_free = 0
        self.passed: Counter[str] = Counter()  # rows of each layer that comes in blocks of them

    def tokens(self, name: str, queue: int) -> int:
        """Tokens in a queue of a layer: of an expert, or its silent one."""
        layer = int(name.split(".")[1])
        if queue < self.hw.max_experts:
            return int(self.now.routed[layer][queue])
        return int(self.now.silent[layer][queue - self.hw.max_experts])

    def wanted(self, name: str, load: Load) -> int:
        """Tokens of the expert that a load is for; a load of no beats is wanted by none."""
        return self.tokens(name, load.expert) if load.beats else 0

    def rows(self, name: str, operator: Operator) -> int:
        """Rows of an operator: its own, or the tokens of its queue."""
        queued = isinstance(operator, Linear) and operator.queued
        return self.tokens(name, operator.queue) if queued else operator.rows

    def silent(self, name: str, layer: Linear) -> int:
        """Rows that a layer leaves out because they did not change."""
        if not layer.queued or layer.queue >= self.hw.max_experts:
            return 0
        number = int(name.split(".")[1])
        return int(self.now.silent[number][layer.queue]) if number in self.now.silent else 0

    def execute(self, name: str, descriptor: Compute, start: int,
                drain: int) -> tuple[int, int | None, list[int]]:
        """Run a compute descriptor issued in ``start`` that may drain from ``drain`` on.

        Return the cycle in which it was written, in which it ended if it is deferred, and the
        cycles from which its rows count.
        """
        if isinstance(descriptor, Store):
            self.issue_free = start + 1
            self.counters["bytes_written"] += descriptor.beats * self.hw.bus_bytes
            self.stores.entered.append((drain, descriptor))
            if descriptor.target == Target.RESIDUAL:
                drain = self.stores.end(len(self.stores.entered) - 1)
            return drain, None, []
        rows = self.rows(name, descriptor)
        if not rows:
            self.issue_free = start + 1
            return drain, None, []
        if isinstance(descriptor, Attention):
            return self.attention(name, descriptor, start, drain)
        if descriptor.dest == Dest.CHANGED:
            return self.probe(name, descriptor, start, drain), None, []
        return self.linear(name, descriptor, rows, start, drain)

    def linear(self, name: str, layer: Linear, rows: int, start: int,
               drain: int) -> tuple[int, int | None, list[int]]:
        """Run ``rows`` rows of a ``LINEAR``; return as :meth:`execute`."""
        hw, sink = self.hw, self.sink(layer, rows)
        place = Place(hw.gangs[layer.gang], 1 << layer.split, hw.groups)
        available = self.available(layer, start)
        if layer.dest == Dest.GATE:
            self.counters["routes"] += rows * layer.top_k
        known = self.remembered(name, layer, rows)
        self.keep(layer, known)
        items = operators.linear_items(layer, self.known(name, layer, rows), known, hw, place)
        first = start + ItemGenerator.LATENCY
        self.pipeline.begin(name, first, drain, place, available, sink, self.kept(layer))
        self.pipeline.losses.operator(name, first, "layer norm" if layer.norm else "rows")
        self.collect(items)
        return sink.end, getattr(sink, "ended", None), sink.rows

    def known(self, name: str, layer: Linear, rows: int):
        """Return the operand of a ``LINEAR``, or what is sent of it, of the next block of rows."""
        if layer.mode != Mode.DELTA:
            return self.now.operands.get(name)
        sent = self.now.sent.get(name)
        if sent is None or len(sent) == rows:
            return sent
        first = self.passed[name] % len(sent)
        self.passed[name] += rows
        return sent[first : first + rows]

    def remembered(self, name: str, layer: Linear, rows: int) -> Sequence[bool]:
        """Return which rows of a ``LINEAR`` have a state to start from."""
        delta = layer.mode == Mode.DELTA
        if delta and layer.fresh:
            return [False] * rows
        known = self.now.known.get(name) if delta and layer.queued else None
        return [True] * rows if known is None else known.tolist()

    def kept(self, layer: Linear) -> Kept:
        """Return which of the kept memories' ports a layer takes."""
        delta = layer.mode == Mode.DELTA
        tracks = delta and not layer.fresh
        return Kept(tracks or layer.mode == Mode.REPLAY,
                    tracks or layer.source == Source.REFERENCE, delta and not layer.keeps)

    def keep(self, layer: Linear, known: Sequence[bool]) -> None:
        """Count what a layer keeps of its rows, and compares with what was kept."""
        mode, hw, rows, old = layer.mode, self.hw, len(known), sum(known)
        if mode >= Mode.DELTA or layer.stores:
            self.counters["kept_words"] += rows * layer.columns // hw.word
        if mode == Mode.DELTA:
            words, moves = -(-layer.depth // hw.word), not layer.keeps
            read, moved = old * layer.passes * words, rows * moves * words
            self.counters["reference_words"] += read + (rows - old) * moves * words
            self.counters["references_read"] += read
            self.counters["references_moved"] += moved
        if mode >= Mode.DELTA:
            self.counters["sums_read"] += old * layer.columns // hw.word

    def probe(self, name: str, layer: Linear, start: int, drain: int) -> int:
        """Find the tokens that changed; return the cycle in which that counts as written."""
        words = -(-layer.depth // self.hw.word)
        changed = [True] * layer.rows if layer.fresh else self.now.changed[
            int(name.split(".")[1])]
        done = self.pipeline.probe(start + ProbeItems.LATENCY, words, changed,
                                   self.available(layer, start))
        self.issue_free = done + 1
        return max(drain, done + 1)

    def available(self, layer: Linear, start: int):
        """Return when row ``r`` may be read: normalized, or made by the operator before."""
        available = self.complete(layer)
        if not layer.norm:
            return available
        rows, words = layer.rows, layer.dim // self.hw.word
        self.counters["norm_words"] += rows * words
        return operators.norm_rows(start, rows, words, available, self.adds).__getitem__

    def complete(self, layer: Linear):
        """Return when row ``r`` of the operator that this one waits for counts."""
        wanted = layer.wait_computes
        if not layer.by_row or not wanted:
            return lambda row: 0
        rows, done = self.rows_ready[wanted - 1], self.computed[wanted - 1]
        return lambda row: min(rows[row], done) if row < len(rows) else done

    def sink(self, layer: Linear, rows: int) -> Sink:
        """Return the unit behind the drain of a ``LINEAR``."""
        if layer.dest == Dest.KEY:
            return operators.KeySink(self.hw, layer.columns, rows)
        if layer.dest == Dest.GATE:
            return operators.GateSink(self.hw, layer.num_experts, layer.top_k)
        if layer.dest in (Dest.RESIDUAL, Dest.COMBINE, Dest.OUTPUT):
            return operators.ResidualSink(self.hw, self.adds)
        return operators.RowSink(self.hw)

    def attention(self, name: str, attention: Attention, start: int,
                  drain: int) -> tuple[int, int | None, list[int]]:
        """Run an ``ATTENTION``; return as :meth:`execute`."""
        hw, operands = self.hw, self.now.operands
        words = -(-operators.keys_of(attention) // hw.word)
        sink = operators.AttentionSink(hw, words)
        self.counters["softmax_words"] += attention.rows * attention.heads * words
        place = Place(1 << attention.spread, 1, hw.gangs[attention.set_size])
        released = self.computed[attention.wait_computes - 1]
        first = start + ItemGenerator.LATENCY
        self.pipeline.begin(name, first, drain, place,
                            lambda row: max(sink.ready[row], released), sink)
        self.pipeline.losses.operator(name, first, "softmax")
        self.collect(operators.attention_items(
            attention, operands.get(f"{name}.scores"), operands.get(f"{name}.values"), hw, place))
        return sink.end, None, sink.rows

    def collect(self, items) -> None:
        """Run an operator's items; the next is issued after the last."""
        accepted = 0
        for item in items:
            accepted = self.pipeline.step(item)
        self.issue_free = accepted + 1
