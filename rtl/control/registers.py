"""Control, status and counters on AXI4-Lite."""

from dataclasses import dataclass
from enum import IntFlag

from amaranth import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.run_control import Commands
from deltamoe.rtl.memory.axi import OKAY, AxiLite
from deltamoe.rtl.record import Area, Record

ID = 0x44654D6F  # "DeMo"
VERSION = 1
COUNTERS_OFFSET = 0x100
WATCHDOG = 1 << 20
"""Patience at reset: 3.5 ms at 300 MHz."""


class Command(IntFlag):
    """Bits of ``control``."""

    START = 1
    RESET = 2
    CLEAR_INTERRUPT = 4


class Status(IntFlag):
    """Bits of ``status``."""

    BUSY = 1
    DONE = 2
    ERROR = 4
    INTERRUPT = 8
    DRAINING = 16


@dataclass(frozen=True)
class Register:
    """Byte offset, access (``r``, ``w`` or ``rw``), meaning and value at reset of a register."""

    offset: int
    access: str
    meaning: str
    reset: int = 0


REGISTERS = {
    "id": Register(0x00, "r", "0x44654d6f", reset=ID),
    "version": Register(0x04, "r", "version of this map", reset=VERSION),
    "control": Register(0x08, "w", "bit 0 start, bit 1 reset, bit 2 clear interrupt"),
    "status": Register(0x0C, "r", "bit 0 busy, bit 1 done, bit 2 error, bit 3 interrupt, "
                       "enabled or not, bit 4 the bus still owes answers of a program that was "
                       "ended"),
    "interrupt_enable": Register(0x10, "rw", "bit 0 raises the interrupt on done or error"),
    "error_code": Register(0x14, "r", "ErrorCode of the last run"),
    "error_index": Register(0x18, "r", "descriptor it stopped at"),
    "program_low": Register(0x1C, "rw", "byte address of the program"),
    "program_high": Register(0x20, "rw", "its upper bits"),
    "program_length": Register(0x24, "rw", "descriptors"),
    "memory_low": Register(0x28, "rw", "byte address that descriptor addresses are relative to"),
    "memory_high": Register(0x2C, "rw", "its upper bits"),
    "memory_size": Register(0x30, "rw", "bytes that descriptor addresses may reach"),
    "watchdog": Register(0x34, "rw", "cycles without progress that end a program, 0: never",
                         reset=WATCHDOG),
}
"""All registers but the counters, which are 64 bits each from ``COUNTERS_OFFSET`` on."""


class Registers(wiring.Component):
    """The register file.

    Every access in the 4 KB is answered with OKAY. What is not readable reads as 0, and writes to
    what is not writable are ignored, so that neither a dump of all registers nor a driver for
    another version can stop a processor.

    The writable registers hold what the *next* start takes; a program that runs has a copy. All
    commands and ends are described in :class:`deltamoe.rtl.control.run_control.RunControl`. For a
    driver:

    ========================  =====================================================================
    written to ``control``    effect
    ========================  =====================================================================
    start                     Clears done, error and interrupt, and begins; with bad settings it
                              ends at once with ``LENGTH`` or ``ADDRESS``, index 0. Ignored while
                              busy. While bit 4 of the status is set it waits, busy, for that bit to
                              fall; if the watchdog expires first it ends with ``WATCHDOG``.
    reset                     Ends a program without a report: status (but for bit 4), interrupt,
                              error and counters are 0 from the next cycle on. The writable
                              registers keep their values. A start may follow at once. Until
                              bit 4 falls, a beat that was offered before may still be written.
    clear interrupt           Takes the interrupt of every end before the cycle in which it takes
                              effect; that of an end in the same cycle stays.
    ========================  =====================================================================

    ======================  =======================================================================
    a program ends with     then
    ======================  =======================================================================
    done                    All its results are in memory.
    any error               Transfers in flight were ended by the rules of the bus, without writing
                            more; results may be missing. What the chip held of this and of earlier
                            frames is lost. The next program can be started as after power-up.
    ``WATCHDOG``            The same, but the bus may still owe answers (bit 4).
    ======================  =======================================================================

    Members
    -------
    axi : ``In(AxiLite())``
        The registers of :data:`REGISTERS`, and the counters.
    commands : ``Out(Commands())``
        Commands, and the writable registers as settings.
    counters : ``In(64).array(len(COUNTERS))``
        Counters in the order of :data:`deltamoe.rtl.control.counters.COUNTERS`.
    interrupt : ``Out(1)``
        Done or error, if enabled, until cleared, reset or started again.

    Timing
    ------
    Addresses and data of a write are taken each when they come; it takes effect, and is answered,
    two cycles after the later one. A read is answered in the cycle after its address. All outputs
    of ``axi`` are registers.
    """

    record = Record(moves="stores settings and counts", area=Area())

    def __init__(self) -> None:
        super().__init__({
            "axi": In(AxiLite()), "commands": Out(Commands()),
            "counters": In(64).array(len(COUNTERS)), "interrupt": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        axi, commands = flipped(self.axi), self.commands
        done, failed, raised = Signal(), Signal(), Signal()
        writable = {name: Signal(32, name=name, init=register.reset)
                    for name, register in REGISTERS.items() if register.access == "rw"}
        settings = commands.settings
        m.d.comb += [
            self.interrupt.eq(raised & writable["interrupt_enable"][0]),
            settings.program_address.eq(Cat(writable["program_low"], writable["program_high"])),
            settings.length.eq(writable["program_length"]),
            settings.memory_base.eq(Cat(writable["memory_low"], writable["memory_high"])),
            settings.memory_size.eq(writable["memory_size"]),
            settings.watchdog.eq(writable["watchdog"]),
        ]
        with m.If(self.clears_interrupt(m, axi, writable)):
            m.d.sync += raised.eq(0)
        with m.If(commands.accepted | commands.reset):
            m.d.sync += [done.eq(0), failed.eq(0), raised.eq(0)]
        with m.If(commands.finished):
            m.d.sync += [done.eq(1), raised.eq(1)]
        with m.If(commands.failed):
            m.d.sync += [failed.eq(1), raised.eq(1)]
        status = Cat(commands.busy, done, failed, raised, commands.draining)
        self.read(m, axi, {**writable, "id": Const(ID), "version": Const(VERSION),
                           "status": status, "error_code": commands.error.code,
                           "error_index": commands.error.index})

        return m

    def clears_interrupt(self, m: Module, axi, writable: dict[str, Signal]) -> Signal:
        """Perform writes; return whether one clears the interrupt."""
        address = Signal.like(axi.awaddr)
        word = Signal(32)
        strobe = Signal(4)
        has_address, has_word = Signal(), Signal()
        performs, clears = Signal(), Signal()
        mask = Cat(bit.replicate(8) for bit in strobe)
        m.d.comb += [performs.eq(has_address & has_word & ~axi.bvalid),
                     axi.awready.eq(~has_address), axi.wready.eq(~has_word),
                     axi.bresp.eq(OKAY)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [address.eq(axi.awaddr), has_address.eq(1)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [word.eq(axi.wdata), strobe.eq(axi.wstrb), has_word.eq(1)]
        m.d.sync += [self.commands.start.eq(0), self.commands.reset.eq(0)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(performs):
            m.d.sync += [axi.bvalid.eq(1), has_address.eq(0), has_word.eq(0)]
            with m.Switch(address[2:]):
                for name, register in writable.items():
                    with m.Case(REGISTERS[name].offset >> 2):
                        m.d.sync += register.eq((word & mask) | (register & ~mask))
                with m.Case(REGISTERS["control"].offset >> 2), m.If(strobe[0]):
                    m.d.sync += [self.commands.start.eq(word[0]), self.commands.reset.eq(word[1])]
                    m.d.comb += clears.eq(word[2])
        return clears

    def read(self, m: Module, axi, readable: dict[str, Value]):
        """Answer a read."""
        words = {REGISTERS[name].offset >> 2: value for name, value in readable.items()}
        place, first, count = axi.araddr[2:], COUNTERS_OFFSET >> 2, 2 * len(COUNTERS)
        halves = Cat(*self.counters, Const(0, 32 * (first - count)))
        m.d.comb += [axi.arready.eq(~axi.rvalid), axi.rresp.eq(OKAY)]
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(0)]
            with m.If((place >= first) & (place < first + count)):
                m.d.sync += axi.rdata.eq(halves.word_select(place[:6], 32))
            with m.Switch(place):
                for number, value in words.items():
                    with m.Case(number):
                        m.d.sync += axi.rdata.eq(value)
