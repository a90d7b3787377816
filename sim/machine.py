"""The whole program: two walkers, two executors, one memory."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.cycles import Retirement, StoreReader, Walker
from deltamoe.rtl.program import (
    DESCRIPTOR_BYTES,
    Compute,
    Dest,
    Halt,
    Linear,
    Load,
    Operator,
    Store,
    Target,
)
from deltamoe.sim.energy.ledger import PROGRAM, Ledger
from deltamoe.sim.execution import Execution
from deltamoe.sim.facts import Facts
from deltamoe.sim.loads import Loads
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.report.spans import Layer, Result, Span


@dataclass
class Position:
    """Where a walker is: the next descriptor and the cycle in which its fetch begins."""

    index: int
    fetch: int


class Machine(Execution):
    """Runs a program's descriptors in the order in which their waits allow.

    Compute descriptors go first: those that the next load does not wait for, and that do not wait
    for it, may run beside it and leave it no room in an on-chip memory.
    """

    def __init__(self, program: Program, facts: Facts, memory: MemoryModel) -> None:
        super().__init__(program.hw, facts, memory)
        self.program, self.facts = program, facts
        shown = [isinstance(descriptor, Store) and descriptor.target == Target.RESIDUAL
                 for descriptor in program.descriptors]
        self.frames = [0, *accumulate(shown)]
        self.loads = Loads(self.hw, memory, self.pipeline)
        self.ledger = Ledger(self.hw)
        self.owners = owners(program)
        self.spans: list[Span] = []
        self.layers: list[Layer] = []
        self.left: list[int] = []        # cycle in which each operator has left the drain
        self.ended = self.covered = -1   # end of the last deferred operator, of the last in flight
        self.held: list[int] = []        # cycle from which each piece of the program is there

    def run(self) -> Result:
        """Run to the end."""
        first = min(len(self.program.descriptors), self.hw.piece)
        fetched = self.loads.fetch(self.program.start,
                                   first * DESCRIPTOR_BYTES // self.hw.bus_bytes)
        self.held.append(fetched + 1)
        loads, computes = Position(0, fetched + 1), Position(0, fetched + 1)
        while self.next_own(computes, Compute) or self.next_own(loads, Load):
            pass
        ends = [position.fetch + Walker.SKIP for position in (loads, computes)]
        end = max(*ends, self.loads.free, self.issue_free, self.loads.ends[-1] + 1,
                  self.covered + 1, self.stores.end(len(self.stores.entered) - 1) + 1)
        self.counters["compute_waits_program"] += max(0, ends[1] - self.issue_free)
        self.counters["cycles"] = end + 1
        self.pipeline.end(end + 1)
        counters = {name: self.counters[name] for name in COUNTERS}
        self.ledger.close(counters, len(self.program.descriptors))
        return Result(counters, tuple(self.layers), (
            *self.loads.spans, *self.spans, *self.pipeline.spans),
            self.pipeline.losses, self.ledger.counters, self.ledger.acts)

    def next_own(self, position: Position, kind: type[Load] | type[Compute]) -> bool:
        """Run a walker's next descriptor if what it waits for is known; tell whether it did."""
        descriptors = self.program.descriptors
        while True:
            descriptor = descriptors[position.index]
            if not self.fetches(position) or isinstance(descriptor, Halt):
                return False
            if isinstance(descriptor, kind):
                break
            position.index += 1
            position.fetch += Walker.SKIP
        name = self.program.names[position.index]
        self.now = self.facts.frame(self.frames[position.index])
        if not self.decided(name, descriptor):
            return False
        loads = isinstance(descriptor, Load)
        offered = position.fetch + Walker.check(self.hw, loads)
        if loads:
            accepted = self.load(position.index, descriptor, offered)
        else:
            accepted = self.compute(name, descriptor, offered)
        position.index += 1
        position.fetch = accepted + 1
        return True

    def decided(self, name: str, descriptor: Load | Compute) -> bool:
        """Tell whether all that a descriptor waits for has been run."""
        if isinstance(descriptor, Compute):
            return (descriptor.wait_computes <= len(self.computed)
                    and descriptor.wait_loads <= len(self.loads.finished))
        wanted, routed = descriptor.wait_computes, descriptor.routed
        if routed and wanted >= routed and not self.wanted(name, descriptor):
            wanted = routed
        return (max(wanted, routed) <= len(self.computed)
                and descriptor.wait_stores <= len(self.stores.entered))

    def fetches(self, position: Position) -> bool:
        """Tell whether a walker's next descriptor is there; it is fetched when it is."""
        piece = position.index // self.hw.piece
        if piece >= len(self.held):
            return False
        position.fetch = max(position.fetch, self.held[piece])
        return True

    def load(self, index: int, load: Load, offered: int) -> int:
        """Run one load; return the cycle in which it was taken."""
        name, before = self.program.names[index], dict(self.counters)
        rows = self.wanted(name, load) if load.skip_if_empty else 0
        accepted = self.loads.load(name, load, offered, self.computed, rows,
                                   self.stores.end(load.wait_stores - 1))
        if load.target == Target.PROGRAM:
            self.held.append(self.loads.finished[-1])
        self.ledger.load(self.owners[index], load, self.since(before))
        return accepted

    def since(self, before: Mapping[str, int]) -> Counter:
        """Return what was counted since ``before``."""
        return Counter({name: count - before.get(name, 0)
                        for name, count in self.counters.items() if count != before.get(name, 0)})

    def compute(self, name: str, descriptor: Compute, offered: int) -> int:
        """Run one compute descriptor; return the cycle in which it was taken."""
        counters, before = self.counters, dict(self.counters)
        ready, number = max(offered, self.issue_free), len(self.computed)
        wanted = descriptor.wait_loads
        loaded = max(ready, self.loads.finished[wanted - 1] if wanted else 0)
        by_row = isinstance(descriptor, Operator) and descriptor.by_row
        wanted = descriptor.wait_computes - by_row
        accepted = max(loaded, self.computed[wanted - 1] if wanted > 0 else 0)
        if number >= Retirement.DEPTH:
            accepted = max(accepted, self.left[number - Retirement.DEPTH] + 1)
        if isinstance(descriptor, Store):
            waits = 1 if descriptor.target == Target.RESIDUAL else StoreReader.DEPTH
            accepted = max(accepted, self.stores.end(len(self.stores.entered) - waits) + 1)
        waits = {"waits_program": max(0, offered - self.issue_free),
                 "waits_loads": loaded - ready, "waits_computes": accepted - loaded}
        self.pipeline.losses.descriptor(
            (self.issue_free, "issue" if number and not self.pipeline.losses.used else "uneven"),
            (ready, "program"), (loaded, "weights"), (accepted, "operators"))
        for cause, cycles in waits.items():
            counters[f"compute_{cause}"] += cycles
        defers = isinstance(descriptor, Linear) and descriptor.dest in (Dest.KEY, Dest.GATE)
        drain = max(accepted + 2, self.left[-1] + 1 if self.left else 0,
                    self.ended + 1 if defers else 0)
        written, ended, rows = self.execute(name, descriptor, accepted + 1, drain)
        left = max(written, self.ended + 1)
        self.left.append(left)
        self.rows_ready.append(rows)
        if ended is not None:
            self.ended = ended
        end = left if ended is None else ended
        self.computed.append(end + 1)
        self.flight(accepted + 1, max(end, self.issue_free - 1))
        begun, made = self.left[-2] + 1 if number else 0, self.since(before)
        stalls = {cause: made[cause] for cause in (
            "source_needs", "source_full", "worker_blocked", "drain_starved", "drain_credit")}
        self.layers.append(Layer(name, begun, left + 1, made["macs"], stalls | waits))
        self.spans.append(Span(("compute",), name, begun, left + 1))
        made["cycles"] = left + 1 - begun
        if isinstance(descriptor, Store):
            self.ledger.store(name, descriptor, made)
        else:
            silent = self.silent(name, descriptor) if isinstance(descriptor, Linear) else 0
            self.ledger.operator(name, descriptor, made, silent)
        return accepted

    def flight(self, first: int, last: int) -> None:
        """Count the cycles in which an operator is in flight."""
        self.counters["compute_busy"] += max(0, last - max(first - 1, self.covered))
        self.covered = max(self.covered, last)


def owners(program: Program) -> list[str]:
    """Return, for each descriptor, the operator that it is there for: the next one, or the last.

    The program's own loads belong to :data:`deltamoe.sim.energy.ledger.PROGRAM`.
    """
    owners, owner = [], PROGRAM
    for name, descriptor in zip(reversed(program.names), reversed(program.descriptors),
                                strict=True):
        if isinstance(descriptor, Compute):
            owner = name
        piece = isinstance(descriptor, Load) and descriptor.target == Target.PROGRAM
        owners.append(PROGRAM if piece else owner)
    return owners[::-1]


def simulate(program: Program, facts: Facts, memory: MemoryModel | None = None) -> Result:
    """Predict cycles, counters and spans of ``program``.

    Raises
    ------
    ValueError
        The program skips elements and ``facts`` do not tell which.
    """
    return Machine(program, facts, memory or MemoryModel()).run()
