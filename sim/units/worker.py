"""A lane group's worker: when it pops the events of an item.

An event leaves the queue at the earliest ``EventQueue.timing.latency`` cycles after its word came
in, and one a cycle; the caller gives that as the cycle in which the item's first word ``arrives``,
and one word may follow in each cycle after that. A word without events gives none, but the item's
last word gives an empty one, so that the item ends.

The first event of an item also needs a bank. All are taken if the items that are not drained are as
many as there are banks; the oldest is released by the drain @ ``d``, its last word's cycle, which
is in ``released`` a cycle later: ``used`` loses the bank and ``free`` is set by the edge after
that, so an event may go @ ``d + Worker.FREED``.

**Odd runs.** Every ``RUN`` events, and behind an item's last one, the lanes flush their sums. An
upper half adds its run to the accumulators a cycle after the lower half, through the same adder, so
flushes are at least ``Worker.FLUSHES`` cycles apart: ``flushed`` is set in the cycle after a flush,
and an item's last event is not popped then. Only a run of a single event would follow a flush at
once, which is an item's last event if the events before it fill whole runs (``total % RUN == 1``)::

    cycle      c      c+1    c+2
    popped     8th    –      9th, the last
    flush      yes           yes
    flushed           yes

The run before is of the item before if it is the item's only event.

Sums are in their bank ``Worker.LATENCY`` cycles after the last event was popped: a register out of
the queue, ``Lanes.LATENCY`` for the product, one for the other half, one for the accumulators,
which make the last bit of ``finishing``; and one more until the drain's register shows it.
"""

from dataclasses import dataclass
from typing import NamedTuple

from deltamoe.rtl.cycles import RUN, Worker


@dataclass(slots=True)
class GroupState:
    """One group's items: last pops of the last three, drain ends of the last ``banks``."""

    pops: tuple[int, ...] = (-RUN, -RUN, -RUN)
    drained: tuple[int, ...] = ()


class Popped(NamedTuple):
    """An item's events in a group.

    ``state`` is the group's behind it; ``first`` the cycle from which its first event might have
    been popped but for an odd run, ``last`` that of its last pop; ``events`` how many, ``blocked``
    the cycles for which all banks were taken.
    """

    state: GroupState
    first: int
    last: int
    events: int
    blocked: int


def pop(events: tuple[int, ...], steady: int, state: GroupState, arrives: int,
        banks: int) -> Popped:
    """Pop a part's ``events`` by word, which are ``steady`` if they come without a gap."""
    _, second, before = state.pops
    last, total, drained = before, 0, state.drained
    bank = drained[0] + Worker.FREED if len(drained) == banks else 0
    final = len(events) - 1
    first = now = max(last + 1, arrives)
    blocked = 0
    if steady:
        first, total = max(now, bank), steady
        blocked = first - now
        if total == 1:
            last = max(first, last + Worker.FLUSHES)
        else:
            last = first + total - 1 + (total % RUN == 1) * (Worker.FLUSHES - 1)
    else:
        for word, sent in enumerate(events):
            if not sent and word != final:
                continue
            now = max(last + 1, arrives + word)
            if not total:
                blocked = max(0, bank - now)
                first = now = max(now, bank)
            pops = sent or 1
            total += pops
            if word == final and total % RUN == 1:
                now = (max(now, last + Worker.FLUSHES) if pops == 1
                       else now + Worker.FLUSHES - 1)
            last = now + pops - 1
    return Popped(GroupState((second, before, last), drained), first, last, total, blocked)
