"""All operators on the datapath: every item's way through it, in max-plus algebra.

Items are issued and drained in order, and an item depends only on earlier ones, so one pass over
the items gives every cycle. Latencies are those of the units in ``rtl``.
"""

from collections import defaultdict
from collections.abc import Iterable

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import RUN, ComputeUnit, EventEncoder, EventQueue, OperandSource, Worker
from deltamoe.sim.items import NOTHING, GroupState, Item, Kept, Place, Sink
from deltamoe.sim.report.losses import Losses
from deltamoe.sim.report.spans import Span
from deltamoe.sim.stores import Busy

SUMMED = ComputeUnit.READ_LATENCY
ARRIVAL = OperandSource.LATENCY + EventEncoder.timing.latency + EventQueue.timing.latency


class Pipeline:
    """State of the datapath over a whole program.

    Groups whose pasts are equal share a state; if all do, it is ``shared``. Ports of what is kept
    are taken when a word is behind the sums' first register (``drains``), is added to (``adds``),
    and when a reference is read (``recalls``) or written (``updates``).
    """

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        self.shared: GroupState | None = GroupState()
        self.groups = [self.shared] * hw.groups
        self.names = tuple(f"group {number}" for number in range(hw.groups))
        self.free = self.drain_free = self.opened = 0
        self.fits = [3, *(min(3, hw.queue_words // words)
                          for words in range(1, hw.queue_words + 1))]
        self.fitting = 3    # items as long as the longest that may wait
        self.counters: dict[str, int] = defaultdict(int)
        self.losses = Losses(hw)
        self.spans: list[Span] = []
        self.drains, self.adds, self.recalls, self.updates = (Busy() for _ in range(4))

    def begin(self, name: str, start: int, drain: int, place: Place, ready, sink: Sink,
              kept: Kept = NOTHING) -> None:
        """Begin an operator: first cycle of its items, and of its drain; what it keeps."""
        self.name, self.place, self.ready, self.sink = name, place, ready, sink
        self.kept = kept
        self.span, self.most = place.span, 3 if 2 * place.span >= place.set_size else 2
        self.free = max(self.free, start)
        self.drain_free = max(self.drain_free, drain)
        self.opened = 0
        if self.shared and self.span < self.hw.groups:
            self.groups, self.shared = [self.shared] * self.hw.groups, None

    def step(self, item: Item) -> int:
        """One item from issue to drain; return the cycle in which it was accepted."""
        count, free = self.counters, self.free
        met = free if item.needs is None else max(free, self.ready(item.needs))
        fitting = self.fits[min(item.words, self.hw.queue_words)]
        accepted, leader = self.choose(met, item.group_set, min(self.most, self.fitting, fitting))
        count["source_needs"] += met - free
        count["source_full"] += accepted - met
        count["source_busy"] += item.words
        self.free = accepted + item.words
        if self.fitting >= fitting or not self.waiting(accepted):
            self.fitting = fitting
        if self.kept.recalls and item.known:
            self.recalls.add(accepted, self.free - 1)
        if self.kept.updates and item.closes:
            self.updates.add(accepted + OperandSource.LATENCY,
                             self.free + OperandSource.LATENCY - 1)
        count["events"] += item.sent
        count["macs"] += item.sent * item.columns
        count["macs_skipped"] += (item.elements - item.sent) * item.columns

        self.losses.item(free, met, accepted, accepted + ARRIVAL)
        self.busy = self.runs = self.blocked = 0
        states, last = self.sum(item, leader, accepted)
        count["worker_busy"] += self.busy
        count["runs"] += self.runs
        count["worker_blocked"] += self.blocked
        self.losses.macs(item.sent * item.columns)
        visible = max(self.drain_free, accepted + 1)
        begun = max(visible, last + Worker.LATENCY)
        count["drain_starved"] += begun - visible
        if item.opens:
            room = self.sink.room(self.opened)
            self.opened += 1
            if room > begun:
                count["drain_credit"] += room - begun
                begun = room
        end = begun + item.drained - 1
        count["drain_busy"] += item.drained
        self.drain_free = end + 1
        self.drains.add(begun + SUMMED + 1, end + SUMMED + 1)
        if self.kept.adds and item.known:
            self.adds.add(begun + SUMMED, end + SUMMED)
        for state in states:
            state.drained = (*state.drained[1 - self.hw.banks :], end)
        self.sink.take(item, end)
        self.spans.append(Span(("drain",), self.name, begun, end + 1))
        return accepted

    def probe(self, offered: int, words: int, changed: Iterable[bool], ready) -> int:
        """Compare rows of ``words`` words with their references; return the last cycle of that."""
        for row, moves in enumerate(changed):
            free = max(offered, self.free)
            begun = max(free, ready(row))
            self.counters["source_needs"] += begun - free
            judged = done = begun + words - 1 + OperandSource.LATENCY
            self.recalls.add(begun, begun + words - 1)
            if moves:
                done = judged + 1
                self.updates.add(done + OperandSource.LATENCY,
                                 done + OperandSource.LATENCY + words - 1)
                judged += words
            self.counters["source_busy"] += words * (1 + moves)
            self.counters["reference_words"] += words * (1 + moves)
            self.free, offered = judged + moves, done + 1
        return done

    def end(self, cycles: int) -> None:
        """End the program."""
        states = [self.shared] * self.hw.groups if self.shared else self.groups
        self.losses.end(cycles, [state.pops[-1] for state in states])

    def waiting(self, now: int) -> bool:
        """Tell whether an item waits at any group."""
        states = [self.shared] if self.shared else self.groups
        return any(state.pops[-1] >= now for state in states)

    def choose(self, now: int, group_set: int, most: int) -> tuple[int, int]:
        """Return when and to which leader the next item goes, not before ``now``.

        At most ``most`` items may wait at a group: three if at most two spans share the set, else
        two, but no more than fit the queue if all are as long as the longest that may wait.
        """
        if self.shared:
            return max(now, self.shared.pops[-most] + 1), 0
        span, first = self.span, group_set * self.place.set_size
        earliest, chosen = None, first
        for leader in range(first, first + self.place.set_size, span):
            last, room = self.pasts(leader, most) if span > 1 else (
                self.groups[leader].pops[-1], self.groups[leader].pops[-most])
            if last < now:
                return now, leader
            if earliest is None or room < earliest >= now:
                earliest, chosen = room, leader
        return max(now, earliest + 1), chosen

    def pasts(self, leader: int, most: int) -> tuple[int, int]:
        """Return the latest of the last pops of a span's groups, and of those ``most`` back."""
        pops = [state.pops for state in self.groups[leader : leader + self.span]]
        return max(each[-1] for each in pops), max(each[-most] for each in pops)

    def sum(self, item: Item, leader: int, accepted: int) -> tuple[list[GroupState], int]:
        """Run an item's events; return the new states of its groups and its last pop."""
        if self.shared and len(item.events) == 1:
            state = self.shared = self.pop(item.events[0], item.steady, self.shared, accepted,
                                           self.names)
            return [state], state.pops[-1]
        if self.shared:
            self.groups, self.shared = [self.shared] * self.hw.groups, None
        if self.span == 1:
            state = self.groups[leader] = self.pop(
                item.events[0], item.steady, self.groups[leader], accepted,
                self.names[leader : leader + 1])
            return [state], state.pops[-1]
        made = self.parts(item, leader, accepted)
        if len(made) == 1 and self.span == self.hw.groups:
            self.shared = made[0]
        return made, max(state.pops[-1] for state in made)

    def parts(self, item: Item, leader: int, accepted: int) -> list[GroupState]:
        """Run the events of groups with different pasts or parts; return their new states."""
        members, name = defaultdict(list), self.names.__getitem__
        size = self.place.gang if len(item.events) > 1 else self.span
        keys: Iterable = map(id, self.groups[leader : leader + self.span])
        if len(item.events) > 1:
            keys = zip(keys, (number // size for number in range(self.span)), strict=True)
        for number, key in enumerate(keys, leader):
            members[key].append(number)
        made: dict[tuple, GroupState] = {}
        for numbers in members.values():
            part = (numbers[0] - leader) // size
            state = self.pop(item.events[part], item.steady, self.groups[numbers[0]], accepted,
                             tuple(map(name, numbers)))
            kept = made.setdefault((state.pops, state.drained), state)
            for number in numbers:
                self.groups[number] = kept
        return list(made.values())

    def pop(self, events: tuple[int, ...], steady: int, state: GroupState, accepted: int,
            units: tuple[str, ...]) -> GroupState:
        """Run a part's events on groups of equal past, by name; return their new state."""
        _, second, before = state.pops
        last, total, drained, number = before, 0, state.drained, len(units)
        bank = drained[0] + 1 if len(drained) == self.hw.banks else 0
        arrival, final = accepted + ARRIVAL, len(events) - 1
        first = now = max(last + 1, arrival)
        if steady:
            first, total = max(now, bank), steady
            blocked = first - now
            last = max(first + total - 1 + (total > 1 and total % RUN == 1),
                       last + 2 if total == 1 else 0)
        else:
            for word, sent in enumerate(events):
                if not sent and word != final:
                    continue
                now = max(last + 1, arrival + word)
                if not total:
                    blocked = max(0, bank - now)
                    first = now = max(now, bank)
                pops = sent or 1
                total += pops
                if word == final and total % RUN == 1:
                    now = max(now, last + 2) if pops == 1 else now + 1
                last = now + pops - 1
        self.busy += number * total
        self.runs += number * -(-total // RUN)
        self.blocked += number * blocked
        self.losses.worked(before, first, last, total, number)
        self.spans.append(Span(units, self.name, first if total > 1 else last, last + 1))
        return GroupState((second, before, last), drained)
