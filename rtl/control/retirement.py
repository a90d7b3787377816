"""Operators from their issue to their end, in order.

::

    issue ──► waiting ──► draining ──┬──────────────► finished
                                     └──► deferred ──►
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Opcode, Target
from deltamoe.rtl.record import Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe

ISSUED = data.StructLayout({"descriptor": DESCRIPTOR, "position": 16, "op": 3, "empty": 1})
"""An operator that has been issued; ``empty`` if it has no rows."""


class Retirement(cycles.Retirement, wiring.Component):
    """Decide whose results the drain may send, and count what has finished.

    Keys leave the corner turn and routes the gate long after their operator's last word was
    drained. Such an operator is deferred: the next may drain meanwhile, but finishes after it.
    Only one is deferred at a time, so the second behind it does not drain before it has ended.

    Members
    -------
    i : ``In(stream.Signature(ISSUED))``
        Operators in order; at most ``DEPTH`` are held.
    written : ``In(1)``
        The draining operator's last word is in its memory, or in the corner turn or the gate.
    stored : ``In(1)``
        The last answer of a ``STORE`` has come; one of the residual stream waits for it.
    ended : ``In(1)``
        The deferred operator's last key or route is being written.
    row_written : ``In(1)``
        A row of the draining operator is complete.
    head : ``Out(ISSUED)``
        The draining operator, if ``active``.
    active, started : ``Out(1)``
        It may drain; the first cycle of that.
    deferred, deferred_started : ``Out(DESCRIPTOR)``, ``Out(1)``
        Last operator to keys or gate, from the cycle after its ``started`` on, which is marked.
    finished, rows : ``Out(16)``, ``Out(range(hw.max_tokens + 1))``
        Operators finished since ``restart``, complete rows of the one after.
    restart : ``In(1)``
        A program begins.
    idle : ``Out(1)``
        Nothing is held.

    Timing
    ------
    An operator issued in cycle ``t`` starts in ``t + 1``, or in the cycle after the one before it
    was written; ``finished`` counts it one cycle after its end.
    """

    record = Record(moves="orders results")

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(ISSUED)), "restart": In(1),
            "written": In(1), "stored": In(1), "ended": In(1), "row_written": In(1),
            "head": Out(ISSUED), "active": Out(1), "started": Out(1),
            "deferred": Out(DESCRIPTOR), "deferred_started": Out(1),
            "finished": Out(16), "rows": Out(range(hw.max_tokens + 1)), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.held = held = Fifo(ISSUED, self.DEPTH)
        pipe(m, flipped(self.i), held.i)
        begun, over, defers, left = Signal(), Signal(), Signal(), Signal()
        behind, done = Signal(), Signal()
        given = held.o.p.descriptor

        m.d.comb += [
            self.head.eq(held.o.payload), self.idle.eq(~held.o.valid & ~behind),
            defers.eq((given.opcode == Opcode.LINEAR) & ~held.o.p.empty
                      & ((given.linear.dest == Dest.KEY) | (given.linear.dest == Dest.GATE))),
            self.started.eq(held.o.valid & ~begun & ~(defers & behind)),
            self.active.eq(self.started | begun),
            over.eq(self.active & (done | held.o.p.empty | Mux(
                given.opcode == Opcode.STORE,
                self.stored | (given.store.target != Target.RESIDUAL),
                self.written))),
            left.eq(over & ~behind), held.o.ready.eq(left),
        ]
        m.d.sync += [
            begun.eq(self.active & ~left), done.eq(over & ~left),
            behind.eq((behind & ~self.ended) | (left & defers)),
            self.deferred_started.eq(self.started & defers),
            self.finished.eq(self.finished + ((left & ~defers) | (behind & self.ended))),
            self.rows.eq(Mux(left, 0, self.rows + self.row_written)),
        ]
        with m.If(self.started & defers):
            m.d.sync += self.deferred.eq(given)
        with m.If(self.restart):
            m.d.sync += self.finished.eq(0)

        return m
