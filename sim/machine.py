"""The whole program: two walkers, two executors, one memory."""

from collections import Counter
from collections.abc import Mapping
from itertools import accumulate

from deltamoe.rtl.compiler.assembler import Program
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.cycles import ComputeExecutor
from deltamoe.rtl.label import PROGRAM, Label
from deltamoe.rtl.program import (
    DESCRIPTOR_BYTES,
    Compute,
    Dest,
    Halt,
    Linear,
    Load,
    Store,
    Target,
)
from deltamoe.sim.energy.ledger import Ledger
from deltamoe.sim.execution import Execution
from deltamoe.sim.facts import Facts
from deltamoe.sim.memory import MemoryModel
from deltamoe.sim.report.spans import COMPUTE, Layer, Result, Span
from deltamoe.sim.units.executor import LoadExecutor
from deltamoe.sim.units.loader import Loader
from deltamoe.sim.units.walker import Walker


class Machine(Execution):
    """Runs a program's descriptors in the order in which their waits allow.

    Compute descriptors go first: those that the next load does not wait for, and that do not wait
    for it, may run beside it and leave it no room in an on-chip memory.

    The walkers start, and may fetch what a piece of the program holds, in the cycle after its last
    beat: their states and the limit are registers. So is all by which units show that they are
    idle, in the cycle after the last that they do; the program has ended in the first cycle in
    which all of them are, which is the last that counts.
    """

    def __init__(self, program: Program, facts: Facts, memory: MemoryModel) -> None:
        super().__init__(program.hw, facts, memory)
        self.program, self.facts = program, facts
        shown = [isinstance(descriptor, Store) and descriptor.target == Target.RESIDUAL
                 for descriptor in program.descriptors]
        self.frames = [0, *accumulate(shown)]
        self.loads = LoadExecutor(self.hw, memory, Loader(
            self.hw, self.pipeline.sums.passing, self.pipeline.updates), self.counters)
        self.ledger = Ledger(self.hw)
        self.owners = owners(program)
        self.spans: list[Span] = []
        self.layers: list[Layer] = []
        self.covered = -1                # end of the last operator in flight
        self.held: list[int] = []        # cycle from which each piece of the program is there

    def run(self) -> Result:
        """Run to the end."""
        first = min(len(self.program.descriptors), self.hw.piece)
        fetched = self.loads.fetch(self.program.start,
                                   first * DESCRIPTOR_BYTES // self.hw.bus_bytes)
        self.held.append(fetched + 1)
        loads, computes = (Walker(self.hw, loads=kind is Load, fetch=fetched + 1)
                           for kind in (Load, Compute))
        while self.next_own(computes, Compute) or self.next_own(loads, Load):
            pass
        end = max(loads.done, computes.done, self.loads.free, self.issue.free,
                  self.loads.finished[-1] if self.loads.finished else fetched + 1,
                  self.covered + 1, self.stores.end(len(self.stores.entered) - 1) + 1)
        self.counters["compute_waits_program"] += max(0, computes.done - self.issue.free)
        self.counters["cycles"] = end + 1
        self.pipeline.end(end + 1)
        counters = {name: self.counters[name] for name in COUNTERS}
        self.ledger.close(counters, len(self.program.descriptors))
        return Result(counters, tuple(self.layers), (
            *self.loads.spans, *self.spans, *self.pipeline.spans),
            self.pipeline.losses, self.ledger.counters, self.ledger.acts)

    def next_own(self, walker: Walker, kind: type[Load] | type[Compute]) -> bool:
        """Run a walker's next descriptor if what it waits for is known; tell whether it did."""
        descriptors = self.program.descriptors
        while True:
            descriptor = descriptors[walker.index]
            if not self.fetches(walker) or isinstance(descriptor, Halt):
                return False
            if isinstance(descriptor, kind):
                break
            walker.skip()
        label = self.program.labels[walker.index]
        self.now = self.facts.frame(self.frames[walker.index])
        if not self.decided(label, descriptor):
            return False
        if isinstance(descriptor, Load):
            walker.take(self.load(walker.index, descriptor, walker.offers))
        else:
            walker.take(self.compute(label, descriptor, walker.offers))
        return True

    def decided(self, label: Label, descriptor: Load | Compute) -> bool:
        """Tell whether all that a descriptor waits for has been run."""
        if isinstance(descriptor, Compute):
            return (descriptor.wait_computes <= len(self.retirement.finished)
                    and descriptor.wait_loads <= len(self.loads.finished))
        awaited, routed = descriptor.wait_computes, descriptor.routed
        if routed and awaited >= routed and not self.wanted(label, descriptor):
            awaited = routed
        return (max(awaited, routed) <= len(self.retirement.finished)
                and descriptor.wait_stores <= len(self.stores.entered))

    def fetches(self, walker: Walker) -> bool:
        """Tell whether a walker's next descriptor is there; it is fetched when it is."""
        piece = walker.index // self.hw.piece
        if piece >= len(self.held):
            return False
        walker.fetch = max(walker.fetch, self.held[piece])
        return True

    def load(self, index: int, load: Load, offered: int) -> int:
        """Run one load; return the cycle in which it was taken."""
        label, before = self.program.labels[index], dict(self.counters)
        rows = self.wanted(label, load) if load.skip_if_empty else 0
        accepted = self.loads.load(label, load, offered, self.retirement.finished, rows,
                                   self.stores.end(load.wait_stores - 1))
        if load.target == Target.PROGRAM:
            self.held.append(self.loads.finished[-1])
        self.ledger.load(str(self.owners[index]), load, self.since(before))
        return accepted

    def since(self, before: Mapping[str, int]) -> Counter:
        """Return what was counted since ``before``."""
        return Counter({name: count - before.get(name, 0)
                        for name, count in self.counters.items() if count != before.get(name, 0)})

    def compute(self, label: Label, descriptor: Compute, offered: int) -> int:
        """Run one compute descriptor; return the cycle in which it was taken."""
        counters, before, issue = self.counters, dict(self.counters), self.issue
        retirement, free = self.retirement, issue.free
        number = len(retirement.finished)
        ready, loaded, taken = issue.accept(descriptor, offered, self.loads.finished)
        waits = {"waits_program": max(0, offered - free),
                 "waits_loads": loaded - ready, "waits_computes": taken - loaded}
        self.pipeline.losses.descriptor(
            (free, "issue" if number and not self.pipeline.losses.used else "uneven"),
            (ready, "program"), (loaded, "weights"), (taken, "operators"))
        for cause, cycles in waits.items():
            counters[f"compute_{cause}"] += cycles
        defers = isinstance(descriptor, Linear) and descriptor.dest in (Dest.KEY, Dest.GATE)
        drain, start = retirement.start(taken, defers=defers), taken + ComputeExecutor.START
        results = self.execute(label, descriptor, start, drain)
        end = retirement.retire(results.written, results.ended)
        self.rows_ready.append(results.rows)
        self.flight(start, max(end, issue.free - 1))
        left, begun = retirement.left[-1], retirement.left[-2] + 1 if number else 0
        counted = self.since(before)
        stalls = {cause: counted[cause] for cause in (
            "source_needs", "source_full", "worker_blocked", "drain_starved", "drain_credit")}
        self.layers.append(Layer(label, begun, left + 1, counted["macs"], stalls | waits))
        self.spans.append(Span((COMPUTE,), label, begun, left + 1))
        counted["cycles"] = left + 1 - begun
        if isinstance(descriptor, Store):
            self.ledger.store(str(label), descriptor, counted)
        else:
            silent = self.silent(label, descriptor) if isinstance(descriptor, Linear) else 0
            self.ledger.operator(str(label), descriptor, counted, silent)
        return taken

    def flight(self, first: int, last: int) -> None:
        """Count the cycles in which an operator is in flight."""
        self.counters["compute_busy"] += max(0, last - max(first - 1, self.covered))
        self.covered = max(self.covered, last)


def owners(program: Program) -> list[Label]:
    """Return, for each descriptor, the operator that it is there for: the next one, or the last.

    The program's own loads belong to :data:`deltamoe.rtl.label.PROGRAM`.
    """
    owners, owner = [], PROGRAM
    for label, descriptor in zip(reversed(program.labels), reversed(program.descriptors),
                                 strict=True):
        if isinstance(descriptor, Compute):
            owner = label
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
