"""The lane groups: which of them work on an item, and when its sums are there.

Groups whose pasts are equal share a state; if all do, it is ``shared``, and an operator that all
groups work on takes one calculation an item.
"""

from collections import defaultdict
from collections.abc import Iterable

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import RUN
from deltamoe.rtl.label import Label
from deltamoe.sim.items import Item, Place
from deltamoe.sim.report.losses import Losses
from deltamoe.sim.report.spans import Span, Unit, group
from deltamoe.sim.units.worker import GroupState, pop


class ComputeUnit:
    """All groups; ``busy``, ``runs`` and ``blocked`` count what they did since asked."""

    def __init__(self, hw: HwConfig, losses: Losses, spans: list[Span]) -> None:
        self.hw, self.losses, self.spans = hw, losses, spans
        self.shared: GroupState | None = GroupState()
        self.groups = [self.shared] * hw.groups
        self.units = tuple(map(group, range(hw.groups)))
        self.busy = self.runs = self.blocked = 0

    def begin(self, label: Label, place: Place) -> None:
        """Begin an operator."""
        self.label, self.place, self.span = label, place, place.span
        if self.shared and self.span < self.hw.groups:
            self.groups, self.shared = [self.shared] * self.hw.groups, None

    @property
    def states(self) -> list[GroupState]:
        """All states, one or one for each group."""
        return [self.shared] if self.shared else self.groups

    def waiting(self, now: int) -> bool:
        """Tell whether an item waits at any group: its last event has not been popped."""
        return any(state.pops[-1] >= now for state in self.states)

    def last_pops(self) -> list[int]:
        """Return every group's last pop."""
        states = [self.shared] * self.hw.groups if self.shared else self.groups
        return [state.pops[-1] for state in states]

    def pasts(self, leader: int, most: int) -> tuple[int, int]:
        """Return the latest of the last pops of a span's groups, and of those ``most`` back."""
        pops = [state.pops for state in self.groups[leader : leader + self.span]]
        return max(each[-1] for each in pops), max(each[-most] for each in pops)

    def sum(self, item: Item, leader: int, arrives: int) -> tuple[list[GroupState], int]:
        """Run an item's events; return the new states of its groups and its last pop."""
        if self.shared and len(item.events) == 1:
            state = self.shared = self.pop(item.events[0], item.steady, self.shared, arrives,
                                           self.units)
            return [state], state.pops[-1]
        if self.shared:
            self.groups, self.shared = [self.shared] * self.hw.groups, None
        if self.span == 1:
            state = self.groups[leader] = self.pop(
                item.events[0], item.steady, self.groups[leader], arrives,
                self.units[leader : leader + 1])
            return [state], state.pops[-1]
        states = self.parts(item, leader, arrives)
        if len(states) == 1 and self.span == self.hw.groups:
            self.shared = states[0]
        return states, max(state.pops[-1] for state in states)

    def parts(self, item: Item, leader: int, arrives: int) -> list[GroupState]:
        """Run the events of groups with different pasts or parts; return their new states."""
        members, unit = defaultdict(list), self.units.__getitem__
        size = self.span // len(item.events)
        keys: Iterable = map(id, self.groups[leader : leader + self.span])
        if len(item.events) > 1:
            keys = zip(keys, (number // size for number in range(self.span)), strict=True)
        for number, key in enumerate(keys, leader):
            members[key].append(number)
        states: dict[tuple, GroupState] = {}
        for numbers in members.values():
            part = (numbers[0] - leader) // size
            state = self.pop(item.events[part], item.steady, self.groups[numbers[0]], arrives,
                             tuple(map(unit, numbers)))
            equal = states.setdefault((state.pops, state.drained), state)
            for number in numbers:
                self.groups[number] = equal
        return list(states.values())

    def pop(self, events: tuple[int, ...], steady: int, state: GroupState, arrives: int,
            units: tuple[Unit, ...]) -> GroupState:
        """Run a part's events on groups of equal past; return their new state."""
        number = len(units)
        after, first, last, total, blocked = pop(events, steady, state, arrives, self.hw.banks)
        self.busy += number * total
        self.runs += number * -(-total // RUN)
        self.blocked += number * blocked
        self.losses.worked(state.pops[-1], first, last, total, number)
        self.spans.append(Span(units, self.label, first if total > 1 else last, last + 1))
        return after

    def release(self, states: Iterable[GroupState], end: int) -> None:
        """Note that an item's last word was drained in ``end``."""
        for state in states:
            state.drained = (*state.drained[1 - self.hw.banks :], end)
