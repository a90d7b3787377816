"""Run checked descriptors: loads beside, everything else in order but overlapping."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.retirement import ISSUED
from deltamoe.rtl.control.run_control import RUN
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Opcode, Target
from deltamoe.rtl.formats import COMMAND, TRANSFER
from deltamoe.rtl.interfaces import Issue, Lookup
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.record import Record


class Finished(wiring.Signature):
    """What has finished since the program began.

    Members
    -------
    loads, computes, stores : ``Out(16)``
        Loads, compute descriptors, transfers of ``STORE``.
    rows : ``Out(range(hw.max_tokens + 1))``
        Rows of the first compute descriptor that has not.
    """

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({"loads": Out(16), "computes": Out(16), "stores": Out(16),
                          "rows": Out(range(hw.max_tokens + 1))})


class LoadExecutor(cycles.LoadExecutor, wiring.Component):
    """Ask memory for each load once the compute descriptors it must follow have finished.

    Members
    -------
    fetch, beats : ``In(1)``, ``In(24)``
        Read the program first, so many beats of it. No load is offered before that.
    settings : ``In(RUN)``
        Where program and data are.
    i : ``In(stream.Signature(DESCRIPTOR))``
        Loads in program order.
    index : ``In(16)``
        Position of ``i`` in the program.
    finished : ``In(Finished(hw))``
        What has finished.
    occupied : ``Out(Lookup(256, 1))``
        Whether an expert has tokens; a load with ``skip_if_empty`` is skipped, and waits for
        nothing more, if not and the routing is known.
    command : ``Out(stream.Signature(COMMAND))``
        To the reader.
    o : ``Out(stream.Signature(TRANSFER))``
        To the loader.
    idle, waits : ``Out(1)``
        No command is pending; a load waits for compute descriptors or for the loader.

    Timing
    ------
    What a load waits for is looked at in one cycle, from the first in which it is offered on; the
    load is taken in the next, ``JUDGED`` later, so no comparison is in the way of ``i.ready``. A
    load taken in cycle ``t`` is on ``o`` in ``t`` and asks the reader in ``t + COMMAND``; the next
    is taken after the reader took the command.
    """

    record = Record(moves="orders loads", combinational={
        "i.ready": ("o.ready",),
        "o.payload": ("fetch", "i.payload", "index"),
        "o.valid": ("fetch", "i.valid", "o.ready"),
        "occupied.address": ("i.payload",),
        "waits": ("o.ready",),
    })

    i: stream.Interface
    o: stream.Interface
    command: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "fetch": In(1), "beats": In(24), "settings": In(RUN),
            "i": In(stream.Signature(DESCRIPTOR)), "index": In(16),
            "finished": In(Finished(hw)), "occupied": Out(Lookup(256, 1)),
            "command": Out(stream.Signature(COMMAND)), "o": Out(stream.Signature(TRANSFER)),
            "idle": Out(1), "waits": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        met, skips, taken, asks = Signal(), Signal(), Signal(), Signal()
        looked, waited, empty = Signal(), Signal(), Signal()
        command = Signal(COMMAND)
        load, transfer, finished = self.i.p.load, self.o.p, self.finished

        m.d.comb += [
            self.idle.eq(~asks),
            empty.eq(load.skip_if_empty & ~self.occupied.data
                     & (finished.computes >= load.routed)),
            waited.eq(((finished.computes >= load.wait_computes) | empty)
                      & (finished.stores >= load.wait_stores)),
            self.waits.eq(self.idle & looked & ~(met & self.o.ready)),
            self.occupied.address.eq(load.expert),
            self.i.ready.eq(self.idle & met & self.o.ready),
            taken.eq(self.i.valid & self.i.ready), self.o.valid.eq(taken | self.fetch),
            transfer.descriptor.eq(self.i.p), transfer.program.eq(self.fetch),
            transfer.position.eq(Mux(self.fetch, 0, self.index)),
            transfer.skip.eq(skips & ~self.fetch),
            transfer.into.eq(Cat(load.target == target for target in Target)
                             & (~self.fetch).replicate(len(Target))),
            self.command.valid.eq(asks), self.command.payload.eq(command),
        ]
        m.d.sync += [looked.eq(self.i.valid & ~taken), met.eq(self.i.valid & ~taken & waited),
                     skips.eq(empty)]
        with m.If(self.fetch):
            m.d.sync += [asks.eq(1), command.beats.eq(self.beats),
                         command.address.eq(self.settings.program_address)]
        with m.Elif(taken & ~skips):
            m.d.sync += [asks.eq(1), command.beats.eq(load.beats),
                         command.address.eq(self.settings.memory_base + load.address)]
        with m.Elif(self.command.ready):
            m.d.sync += asks.eq(0)

        return m


class ComputeExecutor(cycles.ComputeExecutor, wiring.Component):
    """Issue each compute descriptor once the loads and operators it needs have finished.

    Members
    -------
    i, index : as in :class:`LoadExecutor`
        What is offered has been on ``i.payload`` for a cycle.
    finished : ``In(Finished(hw))``
        What has finished.
    lengths : ``Out(Lookup(256, range(hw.max_tokens + 1)))``
        Tokens of the queue of ``i``, final once what ``i`` waits for has finished.
    issue : ``Out(Issue(hw))``
        The descriptor being issued, and its rows, from registers.
    o : ``Out(stream.Signature(ISSUED))``
        Operators issued; once it was ready, there is room for one until the next is.
    stored, pending : ``In(1)``, ``Out(StoreReader.DEPTH)``
        A transfer of a ``STORE`` has finished; as many of the lower bits are set as have not.
    idle, waits_loads, waits_computes : ``Out``
        Nothing is being issued; the next waits for loads, for operators or transfers.

    Timing
    ------
    A descriptor taken in cycle ``t`` starts in ``t + START``; the next is taken at the earliest in
    the cycle after its last item. A ``STORE`` or an operator without rows takes two cycles; it is
    taken when the transfers before it leave room for its own, and if of the residual stream, when
    they have finished, so that what they contend for is not read ahead of it. One
    that probes for changes has no results: it goes on to the retirement when it has ended.
    """

    record = Record(moves="orders operators", combinational={
        "i.ready": ("finished.computes", "finished.loads", "i.payload", "o.ready"),
        "issue.ready_rows": ("finished.rows",),
        "issue.released": ("finished.computes",),
        "lengths.address": ("i.payload",),
        "o.valid": ("issue.issued",),
        "waits_computes": (
            "finished.computes", "finished.loads", "i.payload", "i.valid", "o.ready"),
        "waits_loads": ("finished.loads", "i.payload", "i.valid"),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(DESCRIPTOR)), "index": In(16),
            "finished": In(Finished(hw)), "issue": Out(Issue(hw)),
            "lengths": Out(Lookup(256, range(hw.max_tokens + 1))),
            "o": Out(stream.Signature(ISSUED)),
            "stored": In(1), "pending": Out(StoreReader.DEPTH),
            "idle": Out(1), "waits_loads": Out(1), "waits_computes": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        loaded, computed = Signal(), Signal()
        offered, position, finished, issue = self.i.p, Signal(16), self.finished, self.issue
        descriptor = issue.operator.descriptor
        runs, probes, stores, held = Signal(), Signal(), Signal(), Signal()
        empty, by_row, routed = Signal(), Signal(), Signal()
        waits = offered.compute.wait_computes
        wanted = Signal.like(waits)

        m.d.comb += [
            stores.eq(offered.opcode == Opcode.STORE),
            held.eq(stores & Mux(offered.store.target == Target.RESIDUAL, self.pending[0],
                                 self.pending[-1])),
            loaded.eq(finished.loads >= offered.compute.wait_loads),
            by_row.eq(offered.operator.by_row & ~stores),
            computed.eq((finished.computes >= wanted) & self.o.ready & ~held),
            self.waits_loads.eq(self.idle & self.i.valid & ~loaded),
            self.waits_computes.eq(self.idle & self.i.valid & loaded & ~computed),
            self.i.ready.eq(self.idle & loaded & computed),
            issue.released.eq(finished.computes >= descriptor.compute.wait_computes),
            issue.ready_rows.eq(finished.rows), self.lengths.address.eq(offered.linear.queue),
            routed.eq((offered.opcode == Opcode.LINEAR)
                      & (offered.linear.gather | offered.linear.scatter)),
            empty.eq((issue.rows == 0) & (descriptor.opcode != Opcode.STORE)),
            runs.eq((issue.rows != 0) & (descriptor.opcode != Opcode.STORE)),
            probes.eq((descriptor.opcode == Opcode.LINEAR)
                      & (descriptor.linear.dest == Dest.CHANGED)),
            self.o.p.descriptor.eq(descriptor), self.o.p.position.eq(position),
            self.o.p.op.eq(issue.op), self.o.p.empty.eq(empty | probes),
        ]
        m.d.sync += wanted.eq(Mux(by_row & (waits != 0), waits - 1, waits))
        begins = stores & self.i.valid & self.i.ready
        with m.If(begins & ~self.stored):
            m.d.sync += self.pending.eq(Cat(1, self.pending))
        with m.Elif(~begins & self.stored):
            m.d.sync += self.pending.eq(self.pending >> 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [
                        descriptor.eq(offered), position.eq(self.index), issue.op.eq(issue.op + 1),
                        issue.rows.eq(Mux(routed, self.lengths.data, offered.operator.rows))]
                    m.next = "ISSUE"
            with m.State("ISSUE"):
                m.d.comb += [issue.operator.start.eq(runs), self.o.valid.eq(~probes)]
                with m.If(runs):
                    m.next = "RUN"
                with m.Else():
                    m.next = "IDLE"
            with m.State("RUN"), m.If(issue.issued):
                m.d.comb += self.o.valid.eq(probes)
                m.next = "IDLE"

        return m
