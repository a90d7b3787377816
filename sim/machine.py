"""The whole program: two walkers, two executors, one memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from rtl.assembler import Program
from rtl.counters import COUNTERS
from rtl.linear.item_generator import ItemGenerator
from rtl.program import DESCRIPTOR_BYTES, Dest, Mode, Opcode, Target
from rtl.retirement import Retirement
from rtl.temporal.probe_items import ProbeItems
from rtl.walker import Walker
from sim import operators
from sim.datapath import Pipeline, Place, Sink
from sim.facts import Facts
from sim.loads import Loads
from sim.memory import MemoryModel, write
from sim.spans import Layer, Result, Span


@dataclass
class Position:
    """Where a walker is: the next descriptor and the cycle in which its fetch begins."""

    index: int
    fetch: int


class Machine:
    """Runs a program's descriptors in the order in which their waits allow."""

    def __init__(self, program: Program, facts: Facts, memory: MemoryModel) -> None:
        self.program, self.facts, self.memory = program, facts, memory
        self.hw = program.hw
        stores = [fields["opcode"] == Opcode.STORE for fields in program.descriptors]
        self.frames = [0, *accumulate(stores)]
        self.pipeline = Pipeline(self.hw)
        self.counters = self.pipeline.counters
        self.loads = Loads(self.hw, memory, self.counters)
        self.spans: list[Span] = []
        self.layers: list[Layer] = []
        self.computed: list[int] = []    # cycle from which each compute descriptor has finished
        self.left: list[int] = []        # cycle in which each operator has left the drain
        self.rows_ready: list[list[int]] = []  # cycles from which each operator's rows count
        self.ended = self.covered = -1   # end of the last deferred operator, of the last in flight
        self.issue_free = 0
        self.adds: list[tuple[int, int]] = []  # cycles in which words are added to the residual
        self.held: list[int] = []        # cycle from which each piece of the program is there

    def run(self) -> Result:
        """Run to the end."""
        first = min(len(self.program.descriptors), self.hw.piece)
        fetched = self.loads.fetch(first * DESCRIPTOR_BYTES // self.hw.bus_bytes)
        self.held.append(fetched + 1)
        loads, computes = Position(0, fetched + 1), Position(0, fetched + 1)
        while self.next_own(loads, True) | self.next_own(computes, False):
            pass
        ends = [position.fetch + Walker.SKIP for position in (loads, computes)]
        end = max(*ends, self.loads.free, self.issue_free, self.loads.ends[-1] + 1,
                  self.covered + 1)
        self.counters["compute_waits_program"] += max(0, ends[1] - self.issue_free)
        self.counters["cycles"] = end + 1
        counters = {name: self.counters[name] for name in COUNTERS}
        return Result(counters, tuple(self.layers), (
            *self.loads.spans, *self.spans, *self.pipeline.spans))

    def next_own(self, position: Position, loads: bool) -> bool:
        """Run a walker's next descriptor if what it waits for is known; tell whether it did."""
        descriptors = self.program.descriptors
        while True:
            fields = descriptors[position.index]
            if not self.fetches(position) or fields["opcode"] == Opcode.HALT:
                return False
            if (fields["opcode"] == Opcode.LOAD) == loads:
                break
            position.index += 1
            position.fetch += Walker.SKIP
        name = self.program.names[position.index]
        self.now = self.facts.frame(self.frames[position.index])
        wanted, routed = fields.get("wait_computes", 0), fields.get("routed", 0)
        if routed and not self.rows(name, fields) and wanted >= routed:
            wanted = routed
        if (max(wanted, routed) > len(self.computed)
                or fields.get("wait_loads", 0) > len(self.loads.finished)):
            return False
        offered = position.fetch + Walker.check(self.hw)
        accepted = self.compute(name, fields, offered) if not loads else self.loads.load(
            name, fields, offered, self.computed, self.rows(name, fields))
        if loads and fields["target"] == Target.PROGRAM:
            self.held.append(self.loads.finished[-1])
        position.index += 1
        position.fetch = accepted + 1
        return True

    def fetches(self, position: Position) -> bool:
        """Tell whether a walker's next descriptor is there; it is fetched when it is."""
        piece = position.index // self.hw.piece
        if piece >= len(self.held):
            return False
        position.fetch = max(position.fetch, self.held[piece])
        return True

    def rows(self, name: str, fields: Mapping[str, int]) -> int:
        """Rows of a descriptor: its own, or the tokens of its expert."""
        if "expert" not in fields:
            return fields.get("rows", 0)
        layer, expert = int(name.split(".")[1]), fields["expert"]
        if expert < self.hw.max_experts:
            return int(self.now.routed[layer][expert])
        return int(self.now.silent[layer][expert - self.hw.max_experts])

    def compute(self, name: str, fields: Mapping[str, int], offered: int) -> int:
        """Run one compute descriptor; return the cycle in which it was taken."""
        counters = self.counters
        ready, number = max(offered, self.issue_free), len(self.computed)
        wanted = fields["wait_loads"]
        loaded = max(ready, self.loads.finished[wanted - 1] if wanted else 0)
        wanted = fields.get("wait_computes", 0) - fields.get("by_row", 0)
        accepted = max(loaded, self.computed[wanted - 1] if wanted > 0 else 0)
        if number >= Retirement.DEPTH:
            accepted = max(accepted, self.left[number - Retirement.DEPTH] + 1)
        waits = {"waits_program": max(0, offered - self.issue_free),
                 "waits_loads": loaded - ready, "waits_computes": accepted - loaded}
        for cause, cycles in waits.items():
            counters[f"compute_{cause}"] += cycles
        before = dict(counters)
        defers = fields.get("dest") in (Dest.KEY, Dest.GATE) and fields["opcode"] == Opcode.LINEAR
        drain = max(accepted + 2, self.left[-1] + 1 if self.left else 0,
                    self.ended + 1 if defers else 0)
        written, ended, rows = self.execute(name, fields, accepted + 1, drain)
        left = max(written, self.ended + 1)
        self.left.append(left)
        self.rows_ready.append(rows)
        if ended is not None:
            self.ended = ended
        end = left if ended is None else ended
        self.computed.append(end + 1)
        self.flight(accepted + 1, max(end, self.issue_free - 1))
        stalls = {cause: counters[cause] - before.get(cause, 0) for cause in (
            "source_needs", "source_full", "worker_blocked", "drain_starved", "drain_credit")}
        begun = self.left[-2] + 1 if number else 0
        self.layers.append(Layer(name, begun, left + 1,
                                 counters["macs"] - before.get("macs", 0), stalls | waits))
        self.spans.append(Span(("compute",), name, begun, left + 1))
        return accepted

    def flight(self, first: int, last: int) -> None:
        """Count the cycles in which an operator is in flight."""
        self.counters["compute_busy"] += max(0, last - max(first - 1, self.covered))
        self.covered = max(self.covered, last)

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
            return write(drain, fields["address"], fields["beats"], self.hw, self.memory), None, []
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
        known = self.now.sent if fields.get("mode", 0) == Mode.DELTA else self.now.operands
        items = operators.linear_items(fields, rows, known.get(name), hw, place)
        self.pipeline.begin(name, start + ItemGenerator.LATENCY, drain, place, available, sink)
        self.collect(items)
        return sink.end, getattr(sink, "ended", None), sink.rows

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
        hw, operands, words = self.hw, self.now.operands, -(-fields["rows"] // self.hw.word)
        sink = operators.AttentionSink(hw, words)
        self.counters["softmax_words"] += fields["rows"] * fields["heads"] * words
        place = Place(1 << fields["spread"], 1, hw.gangs[fields["set_size"]])
        released = self.computed[fields["wait_computes"] - 1]
        self.pipeline.begin(name, start + ItemGenerator.LATENCY, drain, place,
                            lambda row: max(sink.ready[row], released), sink)
        self.collect(operators.attention_items(
            fields, operands.get(f"{name}.scores"), operands.get(f"{name}.values"), hw, place))
        return sink.end, None, sink.rows

    def collect(self, items) -> None:
        """Run an operator's items; the next is issued after the last."""
        accepted = 0
        for item in items:
            accepted = self.pipeline.step(item)
        self.issue_free = accepted + 1


def simulate(program: Program, facts: Facts, memory: MemoryModel | None = None) -> Result:
    """Predict cycles, counters and spans of ``program``.

    Raises
    ------
    ValueError
        The program skips elements and ``facts`` do not tell which.
    """
    return Machine(program, facts, memory or MemoryModel()).run()
