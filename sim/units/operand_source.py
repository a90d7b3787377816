"""The operand source: when an item is accepted, and which groups it goes to.

An item is chosen for @ ``c``, with its row and the room in the queues as they are then. Which
groups may lead it is in registers in the cycle after, and it is begun in
``b = c + OperandSource.CHOSEN``: its ``n`` words are read from then on. The next item is held from
``b`` on, and may be chosen for in the cycle before the last read: ``n`` cycles after this one, or
``OperandSource.SHORTEST`` if that is later::

    c          c+1       b = c+2            b+1 .. b+n-3    b+n-2 = c+n    b+n-1
    chosen     leader    read 0, the next   reads           next chosen    last read, next leader
                         is held

It waits for its row, for room in the queues of a span, and for nothing else.

``waiting`` of a group counts an item from ``b + 1`` on, and the choice in ``b`` adds it, until the
cycle in which its last event is popped, inclusive. So there is room in the cycle
after the last pop of the item ``most`` before it, and none waits in a cycle after the last pop of
all.

A word is on ``o`` ``OperandSource.LATENCY`` cycles after it was read: two for the memory and the
registers behind it, one for the register ``o``. The encoder's and the queue's latency follow, until
its first event can be popped :data:`ARRIVAL` cycles after ``b``.
"""

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import EventEncoder, EventQueue, OperandSource
from deltamoe.sim.items import Item, Place
from deltamoe.sim.ports import Busy
from deltamoe.sim.units.compute_unit import ComputeUnit

ARRIVAL = OperandSource.LATENCY + EventEncoder.timing.latency + EventQueue.timing.latency

MOST = 3
"""Items that may wait at a group; two if more than two spans share the set."""


class Source:
    """The source over a whole program; ``recalls`` is the read port of the references.

    ``free`` is the first cycle in which the next item can be chosen for.
    """

    def __init__(self, hw: HwConfig, compute: ComputeUnit) -> None:
        self.hw, self.compute = hw, compute
        self.free = 0
        self.recalls = Busy()
        self.fits = [MOST, *(min(MOST, hw.queue_words // words)
                             for words in range(1, hw.queue_words + 1))]
        self.fitting = MOST  # items as long as the longest since none waited anywhere

    def begin(self, start: int, place: Place) -> None:
        """Begin an operator whose first item is held from ``start`` on."""
        self.place = place
        self.most = MOST if 2 * place.span >= place.set_size else MOST - 1
        self.free = max(self.free, start)

    def take(self, met: int, words: int) -> int:
        """Return from when on the ``words`` of an item chosen for in ``met`` are read."""
        self.free = met + max(words, OperandSource.SHORTEST)
        return met + OperandSource.CHOSEN

    def accept(self, item: Item, met: int) -> tuple[int, int]:
        """Return from when on an item whose row is there in ``met`` is read, and its leader."""
        fitting = self.fits[min(item.words, self.hw.queue_words)]
        chosen, leader = self.choose(met, item.group_set, min(self.most, self.fitting, fitting))
        if self.fitting >= fitting or not self.compute.waiting(chosen):
            self.fitting = fitting
        return self.take(chosen, item.words), leader

    def choose(self, now: int, group_set: int, most: int) -> tuple[int, int]:
        """Return when and to which leader the next item goes, not before ``now``.

        At most ``most`` items may wait at a group. A span at which none waits is preferred, then
        the lowest number.
        """
        compute = self.compute
        if compute.shared:
            return max(now, compute.shared.pops[-most] + 1), 0
        span, first = compute.span, group_set * self.place.set_size
        earliest, chosen = None, first
        for leader in range(first, first + self.place.set_size, span):
            last, room = compute.pasts(leader, most) if span > 1 else (
                compute.groups[leader].pops[-1], compute.groups[leader].pops[-most])
            if last < now:
                return now, leader
            if earliest is None or room < earliest >= now:
                earliest, chosen = room, leader
        return max(now, earliest + 1), chosen
