"""One operator on the datapath: every item's way through it, in max-plus algebra.

Items are issued and drained in order, and an item depends only on earlier ones, so one pass over
the items gives every cycle. Latencies are those of the units in ``rtl``.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from rtl.config import HwConfig
from rtl.linear.drain import Drain
from rtl.linear.event_encoder import EventEncoder
from rtl.linear.event_queue import EventQueue
from rtl.linear.item_generator import ItemGenerator
from rtl.linear.worker import Worker
from rtl.writeback import Writeback
from sim.spans import Span

ARRIVAL = 1 + EventEncoder.timing.latency + EventQueue.timing.latency


@dataclass(frozen=True)
class Item:
    """One item: events of each word it reads, columns, drained words.

    ``needs`` names the row it waits for; ``opens`` the credit its drain takes (``row`` or
    ``token``); ``closes`` what its last drained word completes.
    """

    events: tuple[int, ...]
    elements: int
    columns: int
    words: int
    needs: int | None = None
    opens: bool = False
    closes: bool = False


@dataclass
class WorkerState:
    """Last pops and drain ends of one worker's items."""

    popped: list[int] = field(default_factory=list)
    drained: list[int] = field(default_factory=list)

    def waiting(self, now: int) -> int:
        """Items assigned whose last event was not popped before ``now``; at most two."""
        return sum(time >= now for time in self.popped[-2:])


class Sink:
    """What happens behind the drain; overridden by destination."""

    credits: int | None = None

    def __init__(self) -> None:
        self.freed: list[int] = []
        self.end = 0

    def room(self, opened: int) -> int:
        """Cycle from which the drain may open row or token number ``opened``."""
        if self.credits is None or opened < self.credits:
            return 0
        return self.freed[opened - self.credits] + 1

    def take(self, item: Item, end: int) -> None:
        """Note that ``item``'s last word was drained in ``end``."""
        self.end = end + Drain.LATENCY + Writeback.DONE


class Pipeline:
    """State of the datapath while one operator runs."""

    def __init__(self, hw: HwConfig, gang: int, start: int, ready, sink: Sink, name: str) -> None:
        self.hw, self.ready, self.sink, self.name = hw, ready, sink, name
        self.workers = {
            leader * hw.queues + queue: WorkerState()
            for leader in range(0, hw.groups, gang) for queue in range(hw.queues)}
        self.free = start + ItemGenerator.LATENCY
        self.drain_free = 0
        self.opened = 0
        self.counters: dict[str, int] = defaultdict(int)
        self.spans: list[Span] = []

    def run(self, items: Iterable[Item]) -> int:
        """Run all items and return the operator's last cycle."""
        for item in items:
            self.step(item)
        return self.sink.end

    def step(self, item: Item) -> None:
        """One item from issue to drain."""
        count = self.counters
        met = self.free if item.needs is None else max(self.free, self.ready(item.needs))
        accepted, number = self.choose(met)
        worker = self.workers[number]
        count["source_needs"] += met - self.free
        count["source_full"] += accepted - met
        count["source_busy"] += len(item.events)
        self.free = accepted + len(item.events)

        first, last = self.pop(item, worker, accepted)
        summed = last + Worker.LATENCY
        visible = max(self.drain_free, accepted + 1)
        begun = max(visible, summed)
        count["drain_starved"] += begun - visible
        if item.opens:
            room = self.sink.room(self.opened)
            self.opened += 1
            count["drain_credit"] += max(0, room - begun)
            begun = max(begun, room)
        end = begun + item.words - 1
        count["drain_busy"] += item.words
        self.drain_free = end + 1
        worker.popped.append(last)
        worker.drained.append(end)
        self.sink.take(item, end)
        self.spans += [
            Span("source", self.name, accepted, self.free),
            Span(f"worker {number}", self.name, first, last + 1),
            Span("drain", self.name, begun, end + 1),
        ]

    def choose(self, now: int) -> tuple[int, int]:
        """Return when and to which worker the next item goes, not before ``now``."""
        while True:
            waiting = {number: state.waiting(now) for number, state in self.workers.items()}
            for allowed in (0, 1):
                for number, items in waiting.items():
                    if items == allowed:
                        return now, number
            now = 1 + min(min(state.popped[-2:]) for state in self.workers.values())

    def pop(self, item: Item, worker: WorkerState, accepted: int) -> tuple[int, int]:
        """Return the cycles of the item's first and last pop."""
        count = self.counters
        earliest = worker.popped[-1] + 1 if worker.popped else 0
        bank = worker.drained[-2] + 1 if len(worker.drained) > 1 else 0
        sent = sum(item.events)
        count["events"] += sent
        count["macs"] += sent * item.columns
        count["macs_skipped"] += (item.elements - sent) * item.columns
        first, now = None, 0
        for word, events in enumerate(item.events):
            final = word == len(item.events) - 1
            if not events and not final:
                continue
            now = max(now, earliest, accepted + ARRIVAL + word)
            if first is None:
                count["worker_blocked"] += max(0, bank - now)
                first = now = max(now, bank)
            now += max(events, 1)
            count["worker_busy"] += max(events, 1)
        return first or 0, now - 1
