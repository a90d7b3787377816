"""Compute descriptors on the datapath: one operator after the other."""

from collections import Counter
from collections.abc import Mapping, Sequence

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import ItemGenerator, ProbeItems
from deltamoe.rtl.program import Dest, Mode, Opcode, Source, Target
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

    def rows(self, name: str, fields: Mapping[str, int]) -> int:
        """Rows of a descriptor: its own, or the tokens of its expert."""
        if "expert" not in fields:
            return fields.get("rows", 0)
        layer, expert = int(name.split(".")[1]), fields["expert"]
        if expert < self.hw.max_experts:
            return int(self.now.routed[layer][expert])
        return int(self.now.silent[layer][expert - self.hw.max_experts])

    def silent(self, name: str, fields: Mapping[str, int]) -> int:
        """Rows that a descriptor leaves out because they did not change."""
        expert, layer = fields.get("expert", self.hw.max_experts), int(
            name.split(".")[1]) if name.startswith("blocks.") else -1
        known = layer in self.now.silent and expert < self.hw.max_experts
        return int(self.now.silent[layer][expert]) if known else 0

    def execute(self, name: str, fields: Mapping[str, int], start: int,
                drain: int) -> tuple[int, int | None, list[int]]:
        """Run a compute descriptor issued in ``start`` that may drain from ``drain`` on.

        Return the cycle in which it was written, in which it ended if it is deferred, and the
        cycles from which its rows count.
        """
        rows = self.rows(name, fields)
        if fields["opcode"] == Opcode.STORE:
            self.issue_free = start + 1
            self.counters["bytes_written"] += fields["beats"] * self.hw.bus_bytes
            self.stores.entered.append((drain, fields))
            if fields["target"] == Target.RESIDUAL:
                drain = self.stores.end(len(self.stores.entered) - 1)
            return drain, None, []
        if not rows:
            self.issue_free = start + 1
            return drain, None, []
        if fields["opcode"] == Opcode.ATTENTION:
            return self.attention(name, fields, start, drain)
        if fields["dest"] == Dest.CHANGED:
            return self.probe(name, fields, start, drain), None, []
        hw, sink = self.hw, self.sink(fields, rows)
        place = Place(hw.gangs[fields["gang"]], 1 << fields["split"], hw.groups)
        available = self.available(fields, start)
        if fields["dest"] == Dest.GATE:
            self.counters["routes"] += rows * fields["top_k"]
        known = self.remembered(name, fields, rows)
        self.keep(fields, known)
        items = operators.linear_items(fields, self.known(name, fields, rows), known, hw, place)
        first = start + ItemGenerator.LATENCY
        self.pipeline.begin(name, first, drain, place, available, sink, self.kept(fields))
        self.pipeline.losses.operator(name, first, "layer norm" if fields.get("norm") else "rows")
        self.collect(items)
        return sink.end, getattr(sink, "ended", None), sink.rows

    def known(self, name: str, fields: Mapping[str, int], rows: int):
        """Return the operand of a ``LINEAR``, or what is sent of it, of the next block of rows."""
        if fields.get("mode", 0) != Mode.DELTA:
            return self.now.operands.get(name)
        sent = self.now.sent.get(name)
        if sent is None or len(sent) == rows:
            return sent
        first = self.passed[name] % len(sent)
        self.passed[name] += rows
        return sent[first : first + rows]

    def remembered(self, name: str, fields: Mapping[str, int], rows: int) -> Sequence[bool]:
        """Return which rows of a ``LINEAR`` have a state to start from."""
        delta = fields.get("mode", 0) == Mode.DELTA
        if delta and fields.get("fresh"):
            return [False] * rows
        known = self.now.known.get(name) if delta and "expert" in fields else None
        return [True] * rows if known is None else known.tolist()

    def kept(self, fields: Mapping[str, int]) -> Kept:
        """Return which of the kept memories' ports an operator takes."""
        mode, fresh = fields.get("mode", 0), fields.get("fresh", 0)
        tracks = mode == Mode.DELTA and not fresh
        return Kept(tracks or mode == Mode.REPLAY, tracks or fields["source"] == Source.REFERENCE,
                    mode == Mode.DELTA and not fields.get("keeps", 0))

    def keep(self, fields: Mapping[str, int], known: Sequence[bool]) -> None:
        """Count what an operator keeps of its rows, and compares with what was kept."""
        mode, hw, rows, old = fields.get("mode", 0), self.hw, len(known), sum(known)
        if mode >= Mode.DELTA or fields.get("stores"):
            self.counters["kept_words"] += rows * fields["columns"] // hw.word
        if mode == Mode.DELTA:
            words, moves = -(-fields["depth"] // hw.word), not fields.get("keeps")
            read, moved = old * fields["passes"] * words, rows * moves * words
            self.counters["reference_words"] += read + (rows - old) * moves * words
            self.counters["references_read"] += read
            self.counters["references_moved"] += moved
        if mode >= Mode.DELTA:
            self.counters["sums_read"] += old * fields["columns"] // hw.word

    def probe(self, name: str, fields: Mapping[str, int], start: int, drain: int) -> int:
        """Find the tokens that changed; return the cycle in which that counts as written."""
        words = -(-fields["depth"] // self.hw.word)
        changed = [True] * fields["rows"] if fields.get("fresh") else self.now.changed[
            int(name.split(".")[1])]
        done = self.pipeline.probe(start + ProbeItems.LATENCY, words, changed,
                                   self.available(fields, start))
        self.issue_free = done + 1
        return max(drain, done + 1)

    def available(self, fields: Mapping[str, int], start: int):
        """Return when row ``r`` may be read: normalized, or made by the operator before."""
        available = self.complete(fields)
        if not fields.get("norm"):
            return available
        rows, words = fields["rows"], fields["dim"] // self.hw.word
        self.counters["norm_words"] += rows * words
        return operators.norm_rows(start, rows, words, available, self.adds).__getitem__

    def complete(self, fields: Mapping[str, int]):
        """Return when row ``r`` of the operator that this one waits for counts."""
        wanted = fields.get("wait_computes", 0)
        if not fields.get("by_row") or not wanted:
            return lambda row: 0
        rows, done = self.rows_ready[wanted - 1], self.computed[wanted - 1]
        return lambda row: min(rows[row], done) if row < len(rows) else done

    def sink(self, fields: Mapping[str, int], rows: int) -> Sink:
        """Return the unit behind the drain of a ``LINEAR``."""
        if fields["dest"] == Dest.KEY:
            return operators.KeySink(self.hw, fields["columns"], rows)
        if fields["dest"] == Dest.GATE:
            return operators.GateSink(self.hw, fields["num_experts"], fields["top_k"])
        if fields["dest"] in (Dest.RESIDUAL, Dest.COMBINE, Dest.OUTPUT):
            return operators.ResidualSink(self.hw, self.adds)
        return operators.RowSink(self.hw)

    def attention(self, name: str, fields: Mapping[str, int], start: int,
                  drain: int) -> tuple[int, int | None, list[int]]:
        """Run an ``ATTENTION``; return as :meth:`execute`."""
        hw, operands = self.hw, self.now.operands
        words = -(-fields.get("keys", fields["rows"]) // hw.word)
        sink = operators.AttentionSink(hw, words)
        self.counters["softmax_words"] += fields["rows"] * fields["heads"] * words
        place = Place(1 << fields["spread"], 1, hw.gangs[fields["set_size"]])
        released = self.computed[fields["wait_computes"] - 1]
        first = start + ItemGenerator.LATENCY
        self.pipeline.begin(name, first, drain, place,
                            lambda row: max(sink.ready[row], released), sink)
        self.pipeline.losses.operator(name, first, "softmax")
        self.collect(operators.attention_items(
            fields, operands.get(f"{name}.scores"), operands.get(f"{name}.values"), hw, place))
        return sink.end, None, sink.rows

    def collect(self, items) -> None:
        """Run an operator's items; the next is issued after the last."""
        accepted = 0
        for item in items:
            accepted = self.pipeline.step(item)
        self.issue_free = accepted + 1
