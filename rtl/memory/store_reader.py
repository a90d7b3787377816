"""Words of an on-chip memory to beats of a transfer, while its other users leave the port free.

::

    descriptor ──► queue ──┬──► command
                           └──► address ──► memory ──► beats ──► o
"""

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.descriptor import Target
from deltamoe.rtl.formats import COMMAND, STORING
from deltamoe.rtl.interfaces import StoreRead, Stores
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe


class StoreReader(cycles.StoreReader, wiring.Component):
    """Run the transfers of ``STORE`` one after the other.

    A word of the residual stream is one beat, a kept sum's two, and two words of references are
    one. Beats are read ahead of the writer into a queue that has room for all that are under way,
    so the memory's other users are never held up and no word is read twice.

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
    in ``t + 1`` and reads from ``t + 2`` on, a word in each cycle in which the port is granted, as
    long as no ``AHEAD`` beats are read or under way that have not left. A beat is on ``o``
    ``LATENCY`` cycles after it was read. What is read behind the last beat is dropped.
    """

    record = Record(moves="reads what is stored", area=Area(grows=lambda hw: (hw.word,)),
                    combinational={
        "command.payload": ("transfers.memory_base",),
        "read.address": ("read.granted",),
        "read.half": ("read.granted",),
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
        m.submodules.beats = beats = ResetInserter(~self.read.running)(
            Fifo(8 * self.hw.bus_bytes, self.AHEAD))
        store, read, running = queue.o.p, self.read, self.read.running
        transfers, finished = self.transfers, self.transfers.finished
        here, following = Signal.like(read.address), Signal.like(read.address)
        begins, asked, upper, taken = Signal(), Signal(), Signal(), Signal()
        completes, arrives = Signal(), Signal(Residual.READ - 1)
        ahead = Signal(range(self.AHEAD + 1))

        pipe(m, beats.o, wiring.flipped(self.o))
        m.d.comb += [
            begins.eq(queue.o.valid & ~running), self.command.valid.eq(begins),
            queue.i.payload.eq(transfers.requests.payload),
            queue.i.valid.eq(transfers.requests.valid),
            self.command.p.address.eq(transfers.memory_base + store.address),
            self.command.p.beats.eq(store.beats), transfers.position.eq(store.position),
            finished.eq(running & self.done), queue.o.ready.eq(finished),
            taken.eq(asked & read.granted),
            completes.eq(taken & (upper | (read.target != Target.REFERENCE))),
            read.address.eq(Mux(taken, following, here)),
            read.half.eq(upper ^ (taken & (read.target != Target.RESIDUAL))),
            beats.i.valid.eq(arrives[-1] & ~self.stop), beats.i.payload.eq(read.data),
        ]
        m.d.sync += [
            running.eq((running | begins) & ~finished), asked.eq(ahead + completes != self.AHEAD),
            ahead.eq(ahead + completes - (self.o.valid & self.o.ready)),
            arrives.eq((arrives << 1) | completes),
            here.eq(read.address), upper.eq(read.half),
            following.eq(read.address + (read.half | (read.target != Target.STATE))),
        ]
        with m.If(~running):
            m.d.sync += [
                read.target.eq(store.target), here.eq(store.base), upper.eq(0),
                following.eq(store.base + (store.target != Target.STATE)),
                ahead.eq(0), asked.eq(0), arrives.eq(0),
            ]

        return m
