"""All operators on the datapath: every item's way through it, in max-plus algebra.

Items are issued and drained in order, and an item depends only on earlier ones, so one pass over
the items gives every cycle. Latencies are those of the units in ``rtl``.
"""

from collections import defaultdict
from dataclasses import dataclass

from rtl.config import HwConfig
from rtl.linear.event_encoder import EventEncoder
from rtl.linear.event_queue import EventQueue
from rtl.linear.worker import RUN, Worker
from sim.spans import Span

ARRIVAL = 1 + EventEncoder.timing.latency + EventQueue.timing.latency


@dataclass(frozen=True)
class Item:
    """One item: events of each word it reads by part of the sum, columns, drained words.

    If all parts have the same events, they are given once; ``words`` is how many it reads.
    ``needs`` names the row it waits for; ``group_set`` the groups it is for; ``opens`` the credit
    its drain takes (row of scores or token of the gate); ``closes`` that it ends a row.
    """

    events: tuple[tuple[int, ...], ...]
    words: int
    elements: int
    columns: int
    drained: int
    needs: int | None = None
    group_set: int = 0
    opens: bool = False
    closes: bool = False


@dataclass(frozen=True)
class Place:
    """Groups of an operator's items: sizes of gang, span and set, parts of the sum."""

    gang: int
    parts: int
    set_size: int

    @property
    def span(self) -> int:
        """Groups that work on one item."""
        return self.gang * self.parts


@dataclass
class GroupState:
    """Last pops and drain ends of one group's items."""

    popped: tuple[int, ...] = ()
    drained: tuple[int, ...] = ()

    def waiting(self, now: int) -> int:
        """Items assigned whose last event was not popped before ``now``; at most two."""
        return sum(time >= now for time in self.popped)


class Sink:
    """What happens behind the drain; overridden by destination."""

    credits: int | None = None

    def __init__(self) -> None:
        self.freed: list[int] = []
        self.rows: list[int] = []
        self.end = 0

    def room(self, opened: int) -> int:
        """Cycle from which the drain may open row or token number ``opened``."""
        if self.credits is None or opened < self.credits:
            return 0
        return self.freed[opened - self.credits] + 1

    def take(self, item: Item, end: int) -> None:
        """Note that ``item``'s last word was drained in ``end``."""
        raise NotImplementedError


class Pipeline:
    """State of the datapath over a whole program."""

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.groups = [GroupState()] * hw.groups
        self.free = self.drain_free = self.opened = 0
        self.counters: dict[str, int] = defaultdict(int)
        self.spans: list[Span] = []

    def begin(self, name: str, start: int, drain: int, place: Place, ready, sink: Sink) -> None:
        """Begin an operator: first cycle of its items, and of its drain."""
        self.name, self.place, self.ready, self.sink = name, place, ready, sink
        self.free = max(self.free, start)
        self.drain_free = max(self.drain_free, drain)
        self.opened = 0

    def step(self, item: Item) -> int:
        """One item from issue to drain; return the cycle in which it was accepted."""
        count = self.counters
        met = self.free if item.needs is None else max(self.free, self.ready(item.needs))
        accepted, leader = self.choose(met, item.group_set)
        count["source_needs"] += met - self.free
        count["source_full"] += accepted - met
        count["source_busy"] += item.words
        self.free = accepted + item.words

        summed = self.sum(item, leader, accepted)
        visible = max(self.drain_free, accepted + 1)
        begun = max(visible, summed)
        count["drain_starved"] += begun - visible
        if item.opens:
            room = self.sink.room(self.opened)
            self.opened += 1
            count["drain_credit"] += max(0, room - begun)
            begun = max(begun, room)
        end = begun + item.drained - 1
        count["drain_busy"] += item.drained
        self.drain_free = end + 1
        self.drained(leader, end)
        self.sink.take(item, end)
        self.spans.append(Span("drain", self.name, begun, end + 1))
        return accepted

    def choose(self, now: int, group_set: int) -> tuple[int, int]:
        """Return when and to which leader the next item goes, not before ``now``."""
        span, first = self.place.span, group_set * self.place.set_size
        leaders = range(first, first + self.place.set_size - span + 1, span)
        while True:
            fewest, chosen = 2, -1
            for leader in leaders:
                most = max(state.waiting(now) for state in self.states(leader))
                if most < fewest:
                    fewest, chosen = most, leader
                    if not most:
                        break
            if chosen >= 0:
                return now, chosen
            now = 1 + min(max(state.popped[0] for state in self.states(leader)
                              if len(state.popped) == 2) for leader in leaders)

    def states(self, leader: int) -> list[GroupState]:
        """States of a span's groups, neighbors that share one once."""
        group = self.groups
        return [group[n] for n in range(leader, leader + self.place.span)
                if n == leader or group[n] is not group[n - 1]]

    def sum(self, item: Item, leader: int, accepted: int) -> int:
        """Run an item's events; return the cycle from which all sums are there.

        Groups whose pasts are equal share a state.
        """
        gang, count = self.place.gang, self.counters
        sent = sum(map(sum, item.events)) * self.place.parts // len(item.events)
        count["events"] += sent
        count["macs"] += sent * item.columns
        count["macs_skipped"] += (item.elements - sent) * item.columns
        done: dict[tuple, tuple] = {}
        made: dict[tuple, GroupState] = {}
        summed = 0
        for number in range(self.place.span):
            state = self.groups[leader + number]
            part = number // gang if len(item.events) > 1 else 0
            result = done.get((id(state), part))
            if result is None:
                first, last, pops, blocked = self.pop(item.events[part], state, accepted)
                key = (*state.popped[-1:], last), state.drained
                result = done[id(state), part] = (
                    made.setdefault(key, GroupState(*key)), pops, blocked)
                summed = max(summed, last + Worker.LATENCY)
                self.spans.append(Span(f"group {leader + number}", self.name, first, last + 1))
            self.groups[leader + number] = result[0]
            count["worker_busy"] += result[1]
            count["worker_blocked"] += result[2]
        return summed

    def drained(self, leader: int, end: int) -> None:
        """Note when the sums of the oldest item of a span have left."""
        for state in {id(state): state for state in self.states(leader)}.values():
            state.drained = (*state.drained[1 - self.hw.banks :], end)

    def pop(self, events: tuple[int, ...], state: GroupState,
            accepted: int) -> tuple[int, int, int, int]:
        """Run a part's events; return its first and last pop, pops, cycles without a bank."""
        banks, total, blocked = self.hw.banks, 0, 0
        last = state.popped[-1] if state.popped else -RUN
        bank = state.drained[-banks] + 1 if len(state.drained) == banks else 0
        first, arrival, final = 0, accepted + ARRIVAL, len(events) - 1
        for word, sent in enumerate(events):
            if not sent and word != final:
                continue
            now = max(last + 1, arrival + word)
            if not total:
                blocked = max(0, bank - now)
                first = now = max(now, bank)
            pops = max(sent, 1)
            total += pops
            if word == final and total % RUN == 1:
                now = max(now, last + 2) if pops == 1 else now + 1
                first = now if total == 1 else first
            last = now + pops - 1
        return first, last, total, blocked
