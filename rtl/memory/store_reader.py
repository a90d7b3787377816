"""Words of an on-chip memory to beats of a transfer, while its other users leave the port free.

::

    descriptor ──► queue ──┬──► command
                           └──► address ──► memory ──► beat ──► o
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Target
from deltamoe.rtl.formats import COMMAND, STORING
from deltamoe.rtl.interfaces import StoreRead, Stores
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.fifo import Fifo


class StoreReader(cycles.StoreReader, wiring.Component):
    """Run the transfers of ``STORE`` one after the other.

    A word of the residual stream is one beat, a kept sum's two, and two words of references are
    one. A word that the writer does not take is read again, so the memory's other users are never
    held up and a beat is lost to none of them.

    Members
    -------
    transfers : ``In(Stores())``
        Transfers; at most ``DEPTH`` wait, the one that runs included.
    command : ``Out(stream.Signature(COMMAND))``
        To the writer; always taken.
    done : ``In(1)``
        The writer has ended, and with it the transfer.
    read : ``Out(StoreRead(hw))``
        Beats of the on-chip memories.
    o : ``Out(stream.Signature(8 * hw.bus_bytes))``
        Beats.
    stop : ``In(1)``
        ``o`` gets no other beat.

    Timing
    ------
    A transfer that enters in cycle ``t``, or behind one that finished in ``t``, gives its command
    in ``t + 1`` and reads from ``t + 2`` on. Data that were granted in a cycle are taken in the
    next, if the beat before has left by then: the first ``TAKEN`` cycles after the command. A beat
    is on ``o`` in the cycle after that.
    """

    record = Record(moves="reads what is stored", area=Area(grows=lambda hw: (hw.word,)),
                    combinational={
        "command.payload": ("transfers.memory_base",),
        "read.address": ("o.ready", "stop"),
        "read.half": ("o.ready", "stop"),
        "transfers.finished": ("done",),
    })

    o: stream.Interface
    command: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "transfers": In(Stores()), "command": Out(stream.Signature(COMMAND)),
            "done": In(1), "stop": In(1), "read": Out(StoreRead(hw)),
            "o": Out(stream.Signature(8 * hw.bus_bytes)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Fifo(STORING, self.DEPTH)
        given, read, running = queue.o.p, self.read, self.read.running
        transfers, finished = self.transfers, self.transfers.finished
        here, following = Signal.like(read.address), Signal.like(read.address)
        valid, taken, begins = Signal(), Signal(), Signal()
        kept, halves, upper = Signal(), Signal(), Signal()
        size = 4 * self.hw.bus_bytes

        m.d.comb += [
            begins.eq(queue.o.valid & ~running), self.command.valid.eq(begins),
            kept.eq(read.target == Target.STATE), halves.eq(read.target == Target.REFERENCE),
            queue.i.payload.eq(transfers.requests.payload),
            queue.i.valid.eq(transfers.requests.valid),
            self.command.p.address.eq(transfers.memory_base + given.address),
            self.command.p.beats.eq(given.beats), transfers.position.eq(given.position),
            finished.eq(running & self.done), queue.o.ready.eq(finished),
            taken.eq(valid & (self.o.ready | ~self.o.valid) & ~self.stop),
            read.address.eq(Mux(taken, following, here)), read.half.eq(upper ^ taken),
        ]
        m.d.sync += [running.eq((running | begins) & ~finished), upper.eq(read.half),
                     valid.eq(running & read.granted & ~finished), here.eq(read.address)]
        with m.If(begins):
            m.d.sync += [read.target.eq(given.target), here.eq(given.base),
                         following.eq(given.base + (given.target != Target.STATE))]
        with m.Elif(taken):
            m.d.sync += following.eq(Mux(kept, here, following) + 1)
        with m.If(taken):
            m.d.sync += self.o.payload.eq(read.data)
            with m.If(halves & upper):
                m.d.sync += self.o.payload[:size].eq(self.o.payload[:size])
        m.d.sync += self.o.valid.eq(Mux(taken, ~halves | upper, self.o.valid & ~self.o.ready))
        with m.If(~running | finished):
            m.d.sync += [upper.eq(0), self.o.valid.eq(0), valid.eq(0)]

        return m
