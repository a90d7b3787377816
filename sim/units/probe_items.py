"""The probe of a token gate: rows one after the other, compared and, if they changed, copied.

With ``start`` @ ``s`` the first item is offered in ``s + ProbeItems.LATENCY``: ``primed``,
``waited`` and the state are registers. An item of ``n`` words reads in cycles ``b`` to
``b + n - 1``; its last word reaches the encoder ``OperandSource.LATENCY`` cycles later,
and the row is ``judged`` when the encoder would send that word, :data:`JUDGED` cycles after it was
read. If it did not change, the next row's item is offered in the cycle after. Else that of the copy
is, and the source chooses for it at once, as it has been free since ``b + n``; the next row's is
offered in the cycle after it was taken, and its words reach the references :data:`MOVED` cycles
after they were read::

    b .. b+n-1   j = b+n-1+JUDGED    j+1              j+1+HELD     j+2+HELD
    scan         judged, changed     copy offered     copy held    next row offered
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from deltamoe.rtl.cycles import EventEncoder, OperandSource, ProbeItems
from deltamoe.sim.ports import Busy
from deltamoe.sim.units.operand_source import Source

JUDGED = OperandSource.LATENCY + EventEncoder.timing.latency

MOVED = OperandSource.LATENCY + EventEncoder.WRITTEN
"""Cycles from when a word is read until it is written as a reference."""


class Probed(NamedTuple):
    """When the last row was done with, and the cycles for which items waited for their rows."""

    done: int
    needs: int


def probe(start: int, words: int, changed: Iterable[bool], ready: Callable[[int], int],
          source: Source, updates: Busy) -> Probed:
    """Compare rows of ``words`` words, which are there when ``ready`` says, with references."""
    offered, needs, done = start + ProbeItems.LATENCY, 0, start
    for row, moves in enumerate(changed):
        free = max(offered + OperandSource.HELD, source.free)
        chosen = max(free, ready(row))
        needs += chosen - free
        begun = source.take(chosen, words)
        source.recalls.add(begun, begun + words - 1)
        done = begun + words - 1 + JUDGED
        if moves:
            done += 1 + OperandSource.HELD
            begun = source.take(done, words)
            updates.add(begun + MOVED, begun + words - 1 + MOVED)
        offered = done + 1
    return Probed(done, needs)
