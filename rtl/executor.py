"""Run checked descriptors: loads beside, everything else one after another."""

from amaranth import Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import COMMAND
from rtl.program import DESCRIPTOR


class State(enum.Enum, shape=2):
    """Where an executor is."""

    IDLE = 0
    ISSUE = 1
    RUN = 2


class LoadExecutor(wiring.Component):
    """Start each load once the compute descriptors it must follow have finished.

    Members
    -------
    fetch, length : ``In(1)``, ``In(24)``
        Read the program first, ``length`` beats of it from ``program_address``.
    i : ``In(stream.Signature(DESCRIPTOR))``
        Loads in program order.
    index : ``In(16)``
        Position of ``i`` in the program.
    stop : ``In(1)``
        Take no more.
    computes : ``In(16)``
        Compute descriptors finished.
    inspected, occupied : ``Out(8)``, ``In(1)``
        Whether an expert has tokens; a load with ``skip_if_empty`` is skipped if not.
    command : ``Out(stream.Signature({address, beats}))``
        To the reader; the address is an offset, or absolute while ``program``.
    started, finished : ``Out(1)``, ``In(1)``
        Tell the loader; the loader's last beat.
    descriptor, program, position : ``Out``
        The load in progress and its index.
    loads, fetched, idle, waits : ``Out``
        Loads finished; the program is here; nothing runs; a load waits.

    Timing
    ------
    A load taken in cycle ``t`` asks the reader in ``t + 1``; ``loads`` counts it in the cycle
    after its last beat. A skipped load takes one cycle.
    """

    i: stream.Interface
    command: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__(self.ports())

    @staticmethod
    def ports() -> dict:
        """Members of the signature."""
        return {
            "fetch": In(1), "length": In(24), "program_address": In(40), "memory_base": In(40),
            "i": In(stream.Signature(DESCRIPTOR)), "index": In(16), "stop": In(1),
            "computes": In(16), "inspected": Out(8), "occupied": In(1),
            "command": Out(stream.Signature(COMMAND)),
            "started": Out(1), "finished": In(1),
            "descriptor": Out(DESCRIPTOR), "program": Out(1), "position": Out(16),
            "loads": Out(16), "fetched": Out(1), "idle": Out(1), "waits": Out(1),
        }

    def elaborate(self, platform):
        m = Module()
        state, met, empty = Signal(State), Signal(), Signal()

        m.d.comb += [
            self.idle.eq((state == State.IDLE) & ~self.fetch),
            met.eq(self.computes >= self.i.p.wait_computes),
            self.waits.eq(self.idle & self.i.valid & ~met),
            self.inspected.eq(self.i.p.expert),
            empty.eq(self.i.p.skip_if_empty & ~self.occupied),
            self.i.ready.eq(self.idle & met & ~self.stop),
            self.command.valid.eq(state == State.ISSUE),
            self.started.eq(self.command.valid),
            self.command.p.address.eq(Mux(self.program, self.program_address,
                                          self.memory_base + self.descriptor.address)),
            self.command.p.beats.eq(Mux(self.program, self.length, self.descriptor.beats)),
            self.fetched.eq(self.finished & self.program),
        ]
        with m.If(self.fetch):
            m.d.sync += [state.eq(State.ISSUE), self.program.eq(1), self.loads.eq(0),
                         self.position.eq(0)]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [self.descriptor.eq(self.i.payload), self.position.eq(self.index),
                         self.loads.eq(self.loads + empty)]
            with m.If(~empty):
                m.d.sync += state.eq(State.ISSUE)
        with m.Elif((state == State.ISSUE) & self.command.ready):
            m.d.sync += state.eq(State.RUN)
        with m.Elif(self.finished):
            m.d.sync += [state.eq(State.IDLE), self.program.eq(0),
                         self.loads.eq(self.loads + ~self.program)]

        return m


class ComputeExecutor(wiring.Component):
    """Run each compute descriptor once the loads it needs have finished.

    Members
    -------
    restart : ``In(1)``
        A new program begins.
    i, index, stop : as in :class:`LoadExecutor`
    loads : ``In(16)``
        Loads finished.
    rows : ``In(16)``
        Rows of ``descriptor``; an operator without rows finishes at once.
    descriptor, position, started, finished
        The descriptor in progress, its index, its first cycle, its last.
    computes, idle, waits : ``Out``
        Descriptors finished; nothing runs; the next waits for loads.

    Timing
    ------
    A descriptor taken in cycle ``t`` starts in ``t + 1``; ``computes`` counts it in the cycle
    after ``finished``.
    """

    i: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__(self.ports())

    @staticmethod
    def ports() -> dict:
        """Members of the signature."""
        return {
            "restart": In(1), "i": In(stream.Signature(DESCRIPTOR)), "index": In(16),
            "stop": In(1), "loads": In(16), "rows": In(16),
            "descriptor": Out(DESCRIPTOR), "position": Out(16),
            "started": Out(1), "finished": In(1),
            "computes": Out(16), "idle": Out(1), "waits": Out(1),
        }

    def elaborate(self, platform):
        m = Module()
        state, met, over = Signal(State), Signal(), Signal()

        m.d.comb += [
            self.idle.eq(state == State.IDLE), met.eq(self.loads >= self.i.p.wait_loads),
            self.waits.eq(self.idle & self.i.valid & ~met),
            self.i.ready.eq(self.idle & met & ~self.stop),
            self.started.eq((state == State.ISSUE) & (self.rows != 0)),
            over.eq(((state == State.ISSUE) & (self.rows == 0))
                    | ((state == State.RUN) & self.finished)),
        ]
        m.d.sync += self.computes.eq(self.computes + over)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [state.eq(State.ISSUE), self.descriptor.eq(self.i.payload),
                         self.position.eq(self.index)]
        with m.Elif(over):
            m.d.sync += state.eq(State.IDLE)
        with m.Elif(state == State.ISSUE):
            m.d.sync += state.eq(State.RUN)
        with m.If(self.restart):
            m.d.sync += self.computes.eq(0)

        return m
