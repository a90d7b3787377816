"""The whole program: two walkers, two executors, one memory."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from rtl.assembler import Program
from rtl.counters import COUNTERS
from rtl.program import DESCRIPTOR_BYTES, Dest, Opcode, Target
from rtl.walker import Walker
from sim import operators
from sim.datapath import Pipeline, Sink
from sim.facts import Facts
from sim.memory import MemoryModel, read, write
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
        self.counters: dict[str, int] = defaultdict(int)
        self.spans: list[Span] = []
        self.layers: list[Layer] = []
        self.loaded: list[int] = []      # cycle from which the n-th load counts as finished
        self.computed: list[int] = []    # the same for compute descriptors
        self.load_free = self.compute_free = 0

    def run(self) -> Result:
        """Run to the end."""
        beats = len(self.program.descriptors) * DESCRIPTOR_BYTES // self.hw.bus_bytes
        fetched = read(0, 0, beats, self.hw, self.memory)
        self.moved(beats, 0, fetched, "program")
        self.load_free = fetched + 1
        loads, computes = Position(0, fetched + 1), Position(0, fetched + 1)
        self.compute_done = 0
        while self.next_own(loads, True) | self.next_own(computes, False):
            pass
        ends = [self.halted(position) for position in (loads, computes)]
        end = max(*ends, self.load_free, self.compute_free)
        self.counters["compute_waits_program"] += max(0, ends[1] - self.compute_free)
        self.counters["cycles"] = end + 1
        counters = {name: self.counters[name] for name in COUNTERS}
        return Result(counters, tuple(self.layers), tuple(self.spans))

    def halted(self, position: Position) -> int:
        """Cycle from which a walker is done."""
        return position.fetch + Walker.SKIP

    def next_own(self, position: Position, loads: bool) -> bool:
        """Run a walker's next descriptor if what it waits for is known; tell whether it did."""
        descriptors = self.program.descriptors
        while (descriptors[position.index]["opcode"] == Opcode.LOAD) != loads:
            if descriptors[position.index]["opcode"] == Opcode.HALT:
                return False
            position.index += 1
            position.fetch += Walker.SKIP
        fields = descriptors[position.index]
        if fields["opcode"] == Opcode.HALT:
            return False
        finished, wanted = ((self.computed, fields.get("wait_computes", 0)) if loads
                            else (self.loaded, fields.get("wait_loads", 0)))
        if wanted > len(finished):
            return False
        met = finished[wanted - 1] if wanted else 0
        offered = position.fetch + Walker.CHECK
        name = self.program.names[position.index]
        accepted = (self.load if loads else self.compute)(name, fields, offered, met)
        position.index += 1
        position.fetch = accepted + 1
        return True

    def load(self, name: str, fields: Mapping[str, int], offered: int, met: int) -> int:
        """Run one load; return the cycle in which it was taken."""
        ready = max(offered, self.load_free)
        accepted = max(ready, met)
        self.counters["load_waits_computes"] += accepted - ready
        if fields.get("skip_if_empty") and not self.rows(name, fields):
            self.load_free = accepted + 1
            self.loaded.append(accepted + 1)
            return accepted
        interval = self.hw.lanes if fields["target"] == Target.TABLE else 1
        last = read(accepted + 1, fields["address"], fields["beats"], self.hw, self.memory,
                    interval)
        self.moved(fields["beats"], accepted + 1, last, name)
        self.load_free = last + 1
        self.loaded.append(last + 1)
        return accepted

    def moved(self, beats: int, first: int, last: int, name: str) -> None:
        """Count a load that ran from ``first`` to ``last``."""
        self.counters["load_busy"] += last - first + 1
        self.counters["load_stalled"] += last - first + 1 - beats
        self.counters["bytes_read"] += beats * self.hw.bus_bytes
        self.spans.append(Span("load", name, first, last + 1))

    def rows(self, name: str, fields: Mapping[str, int]) -> int:
        """Rows of a descriptor: its own, or the tokens of its expert."""
        if "expert" not in fields:
            return fields["rows"]
        return int(self.facts.routed[int(name.split(".")[1])][fields["expert"]])

    def compute(self, name: str, fields: Mapping[str, int], offered: int, met: int) -> int:
        """Run one compute descriptor; return the cycle in which it was taken."""
        ready = max(offered, self.compute_free)
        accepted = max(ready, met)
        self.counters["compute_waits_program"] += ready - self.compute_free
        self.counters["compute_waits_loads"] += accepted - ready
        before = dict(self.counters)
        last = self.execute(name, fields, accepted + 1)
        self.counters["compute_busy"] += last - accepted
        self.compute_free = last + 1
        self.computed.append(last + 1)
        stalls = {cause: self.counters[cause] - before.get(cause, 0) for cause in (
            "source_needs", "source_full", "worker_blocked", "drain_starved", "drain_credit")}
        stalls["waits_loads"] = accepted - ready
        self.layers.append(Layer(name, accepted + 1, last + 1,
                                 self.counters["macs"] - before.get("macs", 0), stalls))
        self.spans.append(Span("compute", name, accepted + 1, last + 1))
        return accepted

    def execute(self, name: str, fields: Mapping[str, int], start: int) -> int:
        """Return the last cycle of a compute descriptor that starts in ``start``."""
        hw = self.hw
        if fields["opcode"] == Opcode.STORE:
            self.counters["bytes_written"] += fields["beats"] * hw.bus_bytes
            return write(start, fields["address"], fields["beats"], hw, self.memory)
        rows = self.rows(name, fields)
        if not rows:
            return start
        if fields["opcode"] == Opcode.ATTENTION:
            return self.attention(name, fields, start)
        sink = self.sink(fields, rows)
        words = fields.get("dim", 0) // hw.word
        ready = operators.norm_rows(start, rows, words)
        if fields.get("norm"):
            self.counters["norm_words"] += rows * words
        if fields["dest"] == Dest.GATE:
            self.counters["routes"] += rows * fields["top_k"]
        gang = hw.gangs[fields["gang"]]
        pipeline = Pipeline(hw, gang, start, ready, sink, name)
        items = operators.linear_items(fields, rows, self.facts.operands.get(name), hw, gang)
        return self.collect(pipeline, items)

    def sink(self, fields: Mapping[str, int], rows: int) -> Sink:
        """Return the unit behind the drain of a ``LINEAR``."""
        if fields["dest"] == Dest.KEY:
            return operators.KeySink(self.hw, fields["columns"], rows)
        if fields["dest"] == Dest.GATE:
            return operators.GateSink(fields["num_experts"], fields["top_k"])
        return Sink()

    def attention(self, name: str, fields: Mapping[str, int], start: int) -> int:
        """Return the last cycle of an ``ATTENTION``."""
        hw, operands = self.hw, self.facts.operands
        words = -(-fields["rows"] // hw.word)
        sink = operators.AttentionSink(words)
        self.counters["softmax_words"] += fields["rows"] * fields["heads"] * words
        pipeline = Pipeline(hw, 1, start, lambda row: sink.ready[row], sink, name)
        return self.collect(pipeline, operators.attention_items(
            fields, operands.get(f"{name}.scores"), operands.get(f"{name}.values"), hw))

    def collect(self, pipeline: Pipeline, items) -> int:
        """Run the items and add up what they counted."""
        last = pipeline.run(items)
        for counter, value in pipeline.counters.items():
            self.counters[counter] += value
        self.spans += pipeline.spans
        return last


def simulate(program: Program, facts: Facts, memory: MemoryModel | None = None) -> Result:
    """Predict cycles, counters and spans of ``program``.

    Raises
    ------
    ValueError
        The program skips zeros and ``facts`` hold no operands.
    """
    return Machine(program, facts, memory or MemoryModel()).run()
