"""Run checked descriptors: loads beside, everything else in order but overlapping."""

from amaranth import Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.retirement import ISSUED
from deltamoe.rtl.descriptor import DESCRIPTOR, Dest, Opcode, Target
from deltamoe.rtl.formats import COMMAND, TRANSFER
from deltamoe.rtl.interfaces import Lookup
from deltamoe.rtl.memory.store_reader import StoreReader
from deltamoe.rtl.record import Record


class State(enum.Enum, shape=2):
    """Where an executor is."""

    IDLE = 0
    ISSUE = 1
    RUN = 2


class LoadExecutor(cycles.LoadExecutor, wiring.Component):
    """Ask memory for each load once the compute descriptors it must follow have finished.

    Members
    -------
    fetch, length : ``In(1)``, ``In(24)``
        Read the program first, ``length`` beats of it from ``program_address``.
    i : ``In(stream.Signature(DESCRIPTOR))``
        Loads in program order.
    index : ``In(16)``
        Position of ``i`` in the program.
    computes, stores : ``In(16)``
        Compute descriptors, transfers of ``STORE`` finished.
    occupied : ``Out(Lookup(256, 1))``
        Whether an expert has tokens; a load with ``skip_if_empty`` is skipped, and waits for
        nothing, if not and the routing is known.
    command : ``Out(stream.Signature(COMMAND))``
        To the reader.
    o : ``Out(stream.Signature(TRANSFER))``
        To the loader.
    idle, waits : ``Out(1)``
        No command is pending; a load waits for compute descriptors or for the loader.

    Timing
    ------
    A load taken in cycle ``t`` is on ``o`` in ``t`` and asks the reader in ``t + COMMAND``; the
    next is taken after the reader took the command. A skipped load takes one cycle.
    """

    record = Record(moves="orders loads")

    i: stream.Interface
    o: stream.Interface
    command: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "fetch": In(1), "length": In(24), "program_address": In(40), "memory_base": In(40),
            "i": In(stream.Signature(DESCRIPTOR)), "index": In(16),
            "computes": In(16), "stores": In(16), "occupied": Out(Lookup(256, 1)),
            "command": Out(stream.Signature(COMMAND)), "o": Out(stream.Signature(TRANSFER)),
            "idle": Out(1), "waits": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        state, met, skips, taken = Signal(State), Signal(), Signal(), Signal()
        command = Signal(COMMAND)
        given, sent = self.i.p.load, self.o.p

        m.d.comb += [
            self.idle.eq((state == State.IDLE) & ~self.fetch),
            met.eq(((self.computes >= given.wait_computes) | skips) & self.o.ready
                   & (self.stores >= given.wait_stores)),
            self.waits.eq(self.idle & self.i.valid & ~met),
            self.occupied.address.eq(given.expert),
            skips.eq(given.skip_if_empty & ~self.occupied.data & (self.computes >= given.routed)),
            self.i.ready.eq(self.idle & met),
            taken.eq(self.i.valid & self.i.ready), self.o.valid.eq(taken | self.fetch),
            sent.descriptor.eq(self.i.p), sent.program.eq(self.fetch),
            sent.position.eq(Mux(self.fetch, 0, self.index)), sent.skip.eq(skips & ~self.fetch),
            self.command.valid.eq(state == State.ISSUE), self.command.payload.eq(command),
        ]
        with m.If(self.fetch):
            m.d.sync += [state.eq(State.ISSUE), command.address.eq(self.program_address),
                         command.beats.eq(self.length)]
        with m.Elif(taken & ~skips):
            m.d.sync += [state.eq(State.ISSUE), command.beats.eq(given.beats),
                         command.address.eq(self.memory_base + given.address)]
        with m.Elif(self.command.ready):
            m.d.sync += state.eq(State.IDLE)

        return m


class ComputeExecutor(cycles.ComputeExecutor, wiring.Component):
    """Issue each compute descriptor once the loads and operators it needs have finished.

    Members
    -------
    i, index : as in :class:`LoadExecutor`
    loads, computes : ``In(16)``
        Loads and compute descriptors finished.
    rows : ``In(range(hw.max_tokens + 1))``
        Rows of ``descriptor``, if it is an operator.
    descriptor, started, issued
        The descriptor being issued, the first cycle of that, its last item taken.
    o : ``Out(stream.Signature(ISSUED))``
        Operators issued; there must be room for one while ``room``.
    room : ``In(1)``
        The retirement has room.
    op, released : ``Out``
        Number of the operator, whether all that it waits for has finished.
    stored, pending : ``In(1)``, ``Out``
        A transfer of a ``STORE`` has finished; how many have not.
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

    record = Record(moves="orders operators")

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(DESCRIPTOR)), "index": In(16),
            "loads": In(16), "computes": In(16), "rows": In(range(hw.max_tokens + 1)),
            "descriptor": Out(DESCRIPTOR), "started": Out(1), "issued": In(1),
            "stored": In(1), "pending": Out(range(StoreReader.DEPTH + 1)),
            "o": Out(stream.Signature(ISSUED)), "room": In(1), "op": Out(3), "released": Out(1),
            "idle": Out(1), "waits_loads": Out(1), "waits_computes": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        state, loaded, computed = Signal(State), Signal(), Signal()
        given, position = self.i.p, Signal(16)
        runs, probes, stores, held = Signal(), Signal(), Signal(), Signal()
        empty, by_row = Signal(), Signal()

        m.d.comb += [
            stores.eq(given.opcode == Opcode.STORE),
            held.eq(stores & Mux(given.store.target == Target.RESIDUAL, self.pending != 0,
                                 self.pending == StoreReader.DEPTH)),
            self.idle.eq(state == State.IDLE), loaded.eq(self.loads >= given.compute.wait_loads),
            by_row.eq(given.operator.by_row & ~stores),
            computed.eq((self.computes + by_row >= given.compute.wait_computes) & self.room
                        & ~held),
            self.waits_loads.eq(self.idle & self.i.valid & ~loaded),
            self.waits_computes.eq(self.idle & self.i.valid & loaded & ~computed),
            self.i.ready.eq(self.idle & loaded & computed),
            self.released.eq(self.computes >= self.descriptor.compute.wait_computes),
            empty.eq((self.rows == 0) & (self.descriptor.opcode != Opcode.STORE)),
            runs.eq((self.rows != 0) & (self.descriptor.opcode != Opcode.STORE)),
            self.started.eq((state == State.ISSUE) & runs),
            probes.eq((self.descriptor.opcode == Opcode.LINEAR)
                      & (self.descriptor.linear.dest == Dest.CHANGED)),
            self.o.valid.eq(Mux(probes, (state == State.RUN) & self.issued,
                                state == State.ISSUE)), self.o.p.descriptor.eq(self.descriptor),
            self.o.p.position.eq(position), self.o.p.op.eq(self.op),
            self.o.p.empty.eq(empty | probes),
        ]
        m.d.sync += self.pending.eq(
            self.pending + (stores & self.i.valid & self.i.ready) - self.stored)
        with m.Switch(state):
            with m.Case(State.IDLE), m.If(self.i.valid & self.i.ready):
                m.d.sync += [state.eq(State.ISSUE), self.descriptor.eq(given),
                             position.eq(self.index), self.op.eq(self.op + 1)]
            with m.Case(State.ISSUE):
                m.d.sync += state.eq(Mux(runs, State.RUN, State.IDLE))
            with m.Case(State.RUN), m.If(self.issued):
                m.d.sync += state.eq(State.IDLE)

        return m
