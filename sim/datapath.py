"""All operators on the datapath: every item's way through it, in max-plus algebra.

Items are issued and drained in order, and an item depends only on earlier ones, so one pass over
the items gives every cycle. When a unit does what is derived in its file of
:mod:`deltamoe.sim.units`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import OperandSource
from deltamoe.rtl.label import Label
from deltamoe.sim.items import NOTHING, Item, Kept, Place
from deltamoe.sim.ports import Busy
from deltamoe.sim.report.losses import Losses
from deltamoe.sim.report.spans import DRAIN, Span
from deltamoe.sim.units.compute_unit import ComputeUnit
from deltamoe.sim.units.drain import Drain
from deltamoe.sim.units.kept_sums import KeptSums
from deltamoe.sim.units.operand_source import ARRIVAL, Source
from deltamoe.sim.units.probe_items import MOVED, probe
from deltamoe.sim.units.writeback import Sink


class Pipeline:
    """State of the datapath over a whole program; ``updates`` are the references' writes."""

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.counters: dict[str, int] = defaultdict(int)
        self.losses = Losses(hw)
        self.spans: list[Span] = []
        self.compute = ComputeUnit(hw, self.losses, self.spans)
        self.source = Source(hw, self.compute)
        self.drain = Drain(self.counters)
        self.sums, self.updates = KeptSums(), Busy()

    def begin(self, label: Label, start: int, drain: int, place: Place,
              ready: Callable[[int], int] | None, sink: Sink, kept: Kept = NOTHING) -> None:
        """Begin an operator: first cycle of its items, and of its drain; what it keeps."""
        self.label, self.ready, self.sink, self.kept = label, ready, sink, kept
        self.compute.begin(label, place)
        self.source.begin(start, place)
        self.drain.begin(drain)

    def step(self, item: Item) -> int:
        """One item from issue to drain; return the cycle in which it was begun."""
        count, source, compute, kept = self.counters, self.source, self.compute, self.kept
        free = source.free
        met = free if item.needs is None else max(free, self.ready(item.needs))
        begun, leader = source.accept(item, met)
        chosen, read = begun - OperandSource.CHOSEN, begun + item.words - 1
        count["source_needs"] += met - free
        count["source_full"] += chosen - met
        count["source_busy"] += item.words
        if kept.recalls and item.known:
            source.recalls.add(begun, read)
        if kept.updates and item.closes:
            self.updates.add(begun + MOVED, read + MOVED)
        count["events"] += item.sent
        count["macs"] += item.sent * item.columns
        count["macs_skipped"] += (item.elements - item.sent) * item.columns

        self.losses.item(free, met, chosen, begun + ARRIVAL)
        compute.busy = compute.runs = compute.blocked = 0
        states, popped = compute.sum(item, leader, begun + ARRIVAL)
        count["worker_busy"] += compute.busy
        count["runs"] += compute.runs
        count["worker_blocked"] += compute.blocked
        self.losses.macs(item.sent * item.columns)
        selected, end = self.drain.select(item, begun, popped, self.sink)
        self.sums.drain(selected, end, adds=kept.adds and item.known)
        compute.release(states, end)
        self.sink.take(item, end)
        self.spans.append(Span((DRAIN,), self.label, selected, end + 1))
        return begun

    def probe(self, start: int, words: int, changed: Iterable[bool],
              ready: Callable[[int], int]) -> int:
        """Compare rows of ``words`` words with their references; return the last cycle of that."""
        moved = list(changed)
        read = words * (len(moved) + sum(moved))
        probed = probe(start, words, moved, ready, self.source, self.updates)
        self.counters["source_needs"] += probed.needs
        self.counters["source_busy"] += read
        self.counters["reference_words"] += read
        return probed.done

    def end(self, cycles: int) -> None:
        """End the program."""
        self.losses.end(cycles, self.compute.last_pops())
