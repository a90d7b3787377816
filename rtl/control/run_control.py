"""When a program starts, how it ends, and what must happen before the next one.

::

    IDLE ── start ──► CLEAR ──► START ──► RUN ── error, watchdog ──► DRAIN ◄── reset, anywhere
     ▲                 │ ▲                 │                            │
     ├── nobody waits ─┘ └─────────────────┼────────── drained ─────────┘
     └────────────── finished ─────────────┘
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import DESCRIPTOR_BYTES
from deltamoe.rtl.descriptor import ErrorCode
from deltamoe.rtl.interfaces import Master
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH
from deltamoe.rtl.record import Area, Record

LENGTH_WIDTH = 16
"""Bits of a position in the program."""

SETTINGS = data.StructLayout({
    "program_address": 64, "length": 32, "memory_base": 64, "memory_size": 32, "watchdog": 32})
"""What the registers say of the next program."""

RUN = data.StructLayout({
    "program_address": ADDRESS_WIDTH, "length": LENGTH_WIDTH, "memory_base": ADDRESS_WIDTH,
    "memory_size": 32, "watchdog": 32})
"""What is in force while a program runs: a copy, so that no register can change it."""

PROBLEM = data.StructLayout({"code": ErrorCode, "index": LENGTH_WIDTH})
"""An error and the position of the descriptor it belongs to; ``NONE`` is no error."""


class Commands(wiring.Signature):
    """What the registers command, and are told.

    Members
    -------
    start, reset : ``Out(1)``
        Commands. A reset wins over a start of the same cycle.
    settings : ``Out(SETTINGS)``
        Judged ``RunControl.SETTLE`` cycles after they last changed.
    accepted, finished, failed : ``In(1)``
        A start was taken or refused; the end of a program, good or bad.
    busy, draining : ``In(1)``
        A program runs or waits to run, or its end has not been reported; the bus is awaited.
    error : ``In(PROBLEM)``
        How the last program ended.
    """

    def __init__(self) -> None:
        super().__init__({
            "start": Out(1), "reset": Out(1), "settings": Out(SETTINGS), "accepted": In(1),
            "finished": In(1), "failed": In(1), "busy": In(1), "draining": In(1),
            "error": In(PROBLEM),
        })


class Program(wiring.Signature):
    """The program that runs.

    Members
    -------
    begin, running : ``Out(1)``
        First a cycle of this, then every cycle of that.
    settings : ``Out(RUN)``
        Copy of the settings that the last accepted start took.
    ended, problem, position : ``In(1)``, ``In(PROBLEM)``, ``In(LENGTH_WIDTH)``
        It has ended well; has run into an error; the descriptor it is at.
    """

    def __init__(self) -> None:
        super().__init__({
            "begin": Out(1), "running": Out(1), "settings": Out(RUN), "ended": In(1),
            "problem": In(PROBLEM), "position": In(LENGTH_WIDTH),
        })


class State(enum.Enum, shape=3):
    """Where the accelerator is; bit 2: no burst may begin.

    No ``m.FSM``, since a reset leaves every state, and so that bit 2 is a register of its own.
    """

    IDLE = 0
    START = 1
    RUN = 2
    DRAIN = 4
    CLEAR = 5


class RunControl(wiring.Component):
    """Let one program after the other run, none of which can see anything of the one before.

    A start copies the settings and is refused, with ``LENGTH`` or ``ADDRESS``, if the program has
    no or too many descriptors, if an address is not a multiple of the bus or has more bits than
    the bus, or if program or memory would wrap around its end. A start while a program runs is
    ignored.

    An error, the watchdog or a reset ends a program by the *drain*: no transfer begins any more,
    and what the bus still owes is awaited. Then everything but this and the registers is reset for
    one cycle (*clear*) and the error, the first that happened, is reported. If nothing moves for
    ``watchdog`` cycles it is reported at once, and the drain goes on. A start during the drain
    waits for its end, as long as the watchdog lets it. A reset reports nothing. Every start clears
    once more, so that a program runs as after power-up, to the cycle.

    Members
    -------
    commands : ``In(Commands())``
        Of the registers.
    program : ``Out(Program())``
        The program that runs.
    bus : ``Out(Master())``
        All masters.
    clear : ``Out(1)``
        Reset all but memories.

    Timing
    ------
    ``clear`` follows a start by a cycle, or the drain, and ``begin`` that. An error drains from
    the next cycle on.
    """

    record = Record(moves="orders programs", area=Area(), combinational={
        "commands.accepted": ("commands.reset", "commands.start"),
        "commands.failed": (
            "bus.idle", "commands.reset", "commands.start", "program.ended", "program.problem"),
        "commands.finished": ("commands.reset", "program.ended", "program.problem"),
    })

    SETTLE = 2

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({"commands": In(Commands()), "program": Out(Program()),
                          "bus": Out(Master()), "clear": Out(1)})

    def elaborate(self, platform):
        m = Module()
        state, unreported, waiting = Signal(State), Signal(), Signal()
        starts, over, refusal = Signal(), Signal(), self.judge(m)
        commands, program = self.commands, self.program

        m.d.comb += [
            program.begin.eq(state == State.START), program.running.eq(state == State.RUN),
            self.clear.eq(state == State.CLEAR),
            self.bus.drain.eq(state.as_value()[2]),
            commands.draining.eq(state == State.DRAIN),
            commands.busy.eq(program.begin | program.running | unreported | waiting),
            commands.accepted.eq(commands.start & ~commands.busy & ~commands.reset),
            starts.eq(commands.accepted & (refusal == ErrorCode.NONE)),
        ]
        self.watch(m, over, starts)
        with m.Switch(state):
            with m.Case(State.IDLE), m.If(starts):
                m.d.sync += [state.eq(State.CLEAR), waiting.eq(1)]
            with m.Case(State.START):
                m.d.sync += state.eq(State.RUN)
            with m.Case(State.RUN):
                self.run(m, state, unreported, over)
            with m.Case(State.DRAIN):
                m.d.sync += waiting.eq(waiting | starts)
                with m.If(self.bus.idle):
                    m.d.sync += state.eq(State.CLEAR)
                with m.Elif(over):
                    m.d.comb += commands.failed.eq(1)
                    m.d.sync += [unreported.eq(0), waiting.eq(0)]
                    with m.If(waiting):
                        self.report(m, ErrorCode.WATCHDOG, 0)
            with m.Case(State.CLEAR):
                m.d.comb += commands.failed.eq(unreported)
                m.d.sync += [state.eq(Mux(waiting | starts, State.START, State.IDLE)),
                             unreported.eq(0), waiting.eq(0)]
        self.take(m, starts, refusal)
        with m.If(commands.reset):
            m.d.comb += [commands.finished.eq(0), commands.failed.eq(0)]
            m.d.sync += [state.eq(State.DRAIN), unreported.eq(0), waiting.eq(0)]
            self.report(m, ErrorCode.NONE, 0)

        return m

    def judge(self, m: Module) -> Signal:
        """Return why a start would be refused, in registers."""
        settings, top = self.commands.settings, 1 << ADDRESS_WIDTH
        program_end, memory_end = Signal(ADDRESS_WIDTH + 1), Signal(ADDRESS_WIDTH + 1)
        refusal, unaligned, beyond = Signal(ErrorCode), Signal(), Signal()
        m.d.comb += [
            unaligned.eq((settings.program_address % self.hw.bus_bytes != 0)
                         | (settings.memory_base % self.hw.bus_bytes != 0)),
            beyond.eq((settings.program_address >= top) | (settings.memory_base >= top)
                      | (program_end > top) | (memory_end > top)),
        ]
        m.d.sync += [
            program_end.eq(settings.program_address[:ADDRESS_WIDTH]
                           + settings.length[:LENGTH_WIDTH] * DESCRIPTOR_BYTES),
            memory_end.eq(settings.memory_base[:ADDRESS_WIDTH] + settings.memory_size),
            refusal.eq(Mux((settings.length == 0) | (settings.length >= 1 << LENGTH_WIDTH),
                           ErrorCode.LENGTH,
                           Mux(unaligned | beyond, ErrorCode.ADDRESS, ErrorCode.NONE))),
        ]
        return refusal

    def watch(self, m: Module, over: Signal, starts: Signal) -> None:
        """Count the cycles in which nothing moved; a register tells that it was the last one."""
        watched, last_cycle, watchdog = Signal(), Signal(32), self.commands.settings.watchdog
        with m.If(starts):
            m.d.sync += [watched.eq(watchdog != 0), last_cycle.eq(watchdog - 1)]
        silence, expires = Signal(32), Signal()
        moves = self.bus.progress | over | ~self.commands.busy | self.program.begin
        m.d.comb += over.eq(self.commands.busy & expires)
        m.d.sync += [silence.eq(silence + 1),
                     expires.eq(watched & (silence == last_cycle) & ~moves)]
        with m.If(moves):
            m.d.sync += silence.eq(0)

    def run(self, m: Module, state: Signal, unreported: Signal, over: Signal) -> None:
        """End a program that runs."""
        with m.If(self.program.problem.code != ErrorCode.NONE):
            m.d.sync += [state.eq(State.DRAIN), unreported.eq(1)]
            self.report(m, self.program.problem.code, self.program.problem.index)
        with m.Elif(over):
            m.d.comb += self.commands.failed.eq(1)
            m.d.sync += state.eq(State.DRAIN)
            self.report(m, ErrorCode.WATCHDOG, self.program.position)
        with m.Elif(self.program.ended):
            m.d.comb += self.commands.finished.eq(1)
            m.d.sync += state.eq(State.IDLE)

    def take(self, m: Module, starts: Signal, refusal: Signal) -> None:
        """Copy the settings of an accepted start, or say why it is refused."""
        with m.If(starts):
            m.d.sync += [self.program.settings[name].eq(self.commands.settings[name])
                         for name in RUN.members]
            self.report(m, ErrorCode.NONE, 0)
        with m.Elif(self.commands.accepted):
            m.d.comb += self.commands.failed.eq(1)
            self.report(m, refusal, 0)

    def report(self, m: Module, code, index) -> None:
        """Say how the program ended."""
        m.d.sync += [self.commands.error.code.eq(code), self.commands.error.index.eq(index)]
