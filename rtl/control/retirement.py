"""Operators from their issue to their end, in order.

::

    issue ──► waiting ──► draining ──┬──────────────► finished
                                     └──► deferred ──►
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Opcode, Target
from deltamoe.rtl.formats import STORING
from deltamoe.rtl.interfaces import Deferred, Draining
from deltamoe.rtl.record import Record
from deltamoe.rtl.stream.fifo import Fifo

ISSUED = data.StructLayout({"descriptor": DESCRIPTOR, "position": 16, "op": 3, "empty": 1})
"""An operator that has been issued; ``empty`` if it has no rows."""

HELD = data.StructLayout({"issued": ISSUED, "defers": 1, "stores": 1, "ends": 1})
"""It with what follows from it: whether it is deferred, is a ``STORE``, ends as it starts."""


class Retirement(cycles.Retirement, wiring.Component):
    """Decide whose results the drain may send, and count what has finished.

    Keys leave the corner turn and routes the gate long after their operator's last word was
    drained. Such an operator is deferred: the next may drain meanwhile, but finishes after it.
    Only one is deferred at a time, so the second behind it does not drain before it has ended.

    Members
    -------
    i : ``In(stream.Signature(ISSUED))``
        Operators in order; at most ``DEPTH`` are held.
    draining, deferred : ``Out(Draining())``, ``Out(Deferred())``
        Operators whose results are under way.
    position : ``Out(16)``
        Place of the draining one in the program.
    stores, stored : ``Out(stream.Signature(STORING, always_ready=True))``, ``In(1)``
        Transfers of ``STORE``; the last answer of one has come. One of the residual stream waits
        for it.
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
            "draining": Out(Draining()), "deferred": Out(Deferred()), "position": Out(16),
            "stores": Out(stream.Signature(STORING, always_ready=True)), "stored": In(1),
            "finished": Out(16), "rows": Out(range(hw.max_tokens + 1)), "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.held = held = Fifo(HELD, self.DEPTH)
        begun, ends, left = Signal(), Signal(), Signal()
        behind, done = Signal(), Signal()
        issued, draining, deferred = held.o.p.issued, self.draining, self.deferred
        descriptor, defers, stores = issued.descriptor, held.o.p.defers, held.o.p.stores
        started, request = draining.operator.start, self.stores.p

        self.take(m, held.i)
        m.d.comb += [
            draining.operator.descriptor.eq(descriptor), draining.op.eq(issued.op),
            self.position.eq(issued.position), self.idle.eq(~held.o.valid & ~behind),
            started.eq(held.o.valid & ~begun & ~(defers & behind)),
            draining.active.eq(started | begun),
            ends.eq(done | held.o.p.ends | Mux(stores, self.stored, draining.written)),
            left.eq(held.o.valid & ends & ~behind), held.o.ready.eq(left),
            self.stores.valid.eq(started & stores),
            request.target.eq(descriptor.store.target), request.base.eq(descriptor.store.base),
            request.address.eq(descriptor.store.address), request.beats.eq(descriptor.store.beats),
            request.position.eq(self.position),
        ]
        m.d.sync += [
            begun.eq(draining.active & ~left), done.eq(draining.active & ends & behind),
            behind.eq((behind & ~deferred.ended) | (left & defers)),
            deferred.operator.start.eq(started & defers),
            self.rows.eq(Mux(left, 0, self.rows + draining.row_written)),
        ]
        with m.If(started & defers):
            m.d.sync += deferred.operator.descriptor.eq(descriptor)
        with m.If((left & ~defers) | (behind & deferred.ended)):
            m.d.sync += self.finished.eq(self.finished + 1)
        with m.If(self.restart):
            m.d.sync += self.finished.eq(0)

        return m

    def take(self, m: Module, taken: stream.Interface):
        """Put an operator into the queue, with what the others would wait for at its head."""
        issued, held = self.i.p, taken.p
        descriptor, is_linear = issued.descriptor, issued.descriptor.opcode == Opcode.LINEAR
        m.d.comb += [
            taken.valid.eq(self.i.valid), self.i.ready.eq(taken.ready), held.issued.eq(issued),
            held.defers.eq(is_linear & ~issued.empty & ((descriptor.linear.dest == Dest.KEY)
                                                        | (descriptor.linear.dest == Dest.GATE))),
            held.stores.eq(descriptor.opcode == Opcode.STORE),
            held.ends.eq(issued.empty
                         | (held.stores & (descriptor.store.target != Target.RESIDUAL))),
        ]
