"""Descriptors of the program in order, checked: one walker for loads, one for the rest.

::

    FETCH ──► READ ──► DECODE ──► GATHER ──► CHECK × n ──► OFFER ──► o
      ▲──────────── not mine ──┘                             └──► next
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.checks.descriptor import Checks
from deltamoe.rtl.descriptor import DESCRIPTOR, ErrorCode, Opcode
from deltamoe.rtl.interfaces import Read
from deltamoe.rtl.record import Record


class Walk(wiring.Signature):
    """A program that is walked.

    Members
    -------
    start : ``Out(1)``
        Begin with descriptor 0.
    length, limit, memory_size : ``Out(16)``, ``Out(16)``, ``Out(32)``
        Descriptors of the program, those loaded so far, bytes that addresses may reach.
    index : ``In(16)``
        Position of the descriptor that is offered or judged.
    done, lacks : ``In(1)``
        ``HALT`` has been met; the next descriptor has not been loaded.
    error : ``In(ErrorCode)``
        Why the walker stopped, or ``NONE``.
    """

    def __init__(self) -> None:
        super().__init__({
            "start": Out(1), "length": Out(16), "limit": Out(16), "memory_size": Out(32),
            "index": In(16), "done": In(1), "lacks": In(1), "error": In(ErrorCode),
        })


class State(enum.Enum, shape=4):
    """Where the walker is; no ``m.FSM``, since a start leaves every state."""

    IDLE = 0
    FETCH = 1
    READ = 2
    DECODE = 3
    GATHER = 4
    CHECK = 5
    OFFER = 6
    DONE = 7
    ERROR = 8


class Walker(cycles.Walker, wiring.Component):
    """Offer the program's loads, or everything but its loads.

    Parameters
    ----------
    hw : HwConfig
        Maxima that descriptors are judged by.
    loads : bool
        Whose descriptors to offer.

    Members
    -------
    walk : ``In(Walk())``
        The program.
    read : ``Out(Read(rows(hw), 8 * hw.bus_bytes))``
        Program memory, ``parts(hw)`` rows for a descriptor.
    o : ``Out(stream.Signature(DESCRIPTOR))``
        Valid descriptors.

    Timing
    ------
    A descriptor of the other walker takes ``SKIP`` cycles, an own one
    ``fetch_to_offer(hw, loads)`` cycles until it is offered; the next is fetched in the cycle after
    it was taken. What the program memory holds goes into a register before anything depends on it.
    """

    record = Record(moves="reads descriptors", combinational={
        "walk.lacks": ("walk.limit",),
    })

    o: stream.Interface

    def __init__(self, hw: HwConfig, *, loads: bool) -> None:
        self.hw = hw
        self.loads = loads
        super().__init__({
            "walk": In(Walk()), "read": Out(Read(self.rows(hw), 8 * hw.bus_bytes)),
            "o": Out(stream.Signature(DESCRIPTOR)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.checks = checks = Checks(self.hw, loads=self.loads)
        state, step = Signal(State), Signal.like(checks.step)
        parts, walk = self.parts(self.hw), self.walk
        opcode, part, last = Signal(4), Signal(range(parts)), Signal()
        gathered = Cat(self.o.payload.as_value(), self.read.data)[len(self.read.data) :]

        m.d.comb += [
            opcode.eq(self.o.payload.as_value()[-len(self.read.data) :]), last.eq(part == 0),
            self.read.address.eq((walk.index & (self.hw.program_depth - 1)) * parts + part),
            walk.lacks.eq((state == State.FETCH) & (walk.index == walk.limit)),
            walk.done.eq(state == State.DONE),
            checks.descriptor.eq(self.o.payload), checks.step.eq(step),
            checks.memory_size.eq(walk.memory_size), self.o.valid.eq(state == State.OFFER),
        ]
        with m.Switch(state):
            with m.Case(State.FETCH):
                with m.If(walk.index == walk.length):
                    self.fail(m, state, ErrorCode.LENGTH)
                with m.Elif(~walk.lacks):
                    m.d.sync += [state.eq(State.READ), part.eq(int(parts > 1))]
            with m.Case(State.READ):
                m.d.sync += [self.o.payload.eq(gathered), step.eq(0), state.eq(State.DECODE),
                             part.eq(Mux(last, 0, part + 1))]
            with m.Case(State.DECODE):
                if parts > 1:
                    m.d.sync += self.o.payload.eq(gathered)
                with m.If(opcode == Opcode.HALT):
                    m.d.sync += [state.eq(State.DONE), part.eq(0)]
                with m.Elif((opcode == Opcode.LOAD) == self.loads):
                    m.d.sync += [state.eq(Mux(last, State.CHECK, State.GATHER)),
                                 part.eq(Mux(last, 0, part + 1))]
                with m.Else():
                    m.d.sync += [state.eq(State.FETCH), part.eq(0), walk.index.eq(walk.index + 1)]
            with m.Case(State.GATHER):
                m.d.sync += [self.o.payload.eq(gathered), part.eq(Mux(last, 0, part + 1)),
                             state.eq(Mux(last, State.CHECK, State.GATHER))]
            with m.Case(State.CHECK):
                m.d.sync += step.eq(step + 1)
                with m.If(step == Checks.LATENCY + checks.steps - 1):
                    m.d.sync += state.eq(State.OFFER)
                with m.If(step >= Checks.LATENCY):
                    self.judge(m, state, checks)
            with m.Case(State.OFFER), m.If(self.o.ready):
                m.d.sync += [state.eq(State.FETCH), walk.index.eq(walk.index + 1)]
        with m.If(walk.start):
            m.d.sync += [state.eq(State.FETCH), walk.index.eq(0), walk.error.eq(ErrorCode.NONE)]

        return m

    def judge(self, m: Module, state, checks: Checks):
        """Stop at the first rule that the descriptor breaks."""
        opcode = self.o.p.opcode
        known = sum(opcode == code for code in Opcode)
        with m.If(known == 0):
            self.fail(m, state, ErrorCode.OPCODE)
        with m.Elif(~checks.field_valid):
            self.fail(m, state, ErrorCode.FIELD)
        with m.Elif(~checks.address_valid):
            self.fail(m, state, ErrorCode.ADDRESS)
        with m.Elif(~checks.range_valid):
            self.fail(m, state, ErrorCode.RANGE)

    def fail(self, m: Module, state, code: ErrorCode):
        """Enter the error state."""
        m.d.sync += [state.eq(State.ERROR), self.walk.error.eq(code)]
