"""Control, status and counters on AXI4-Lite."""

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, flipped

from rtl.counters import COUNTERS
from rtl.memory.axi import OKAY, SLVERR, AxiLite
from rtl.program import ErrorCode

ID = 0x44654D6F  # "DeMo"
VERSION = 1
COUNTERS_OFFSET = 0x100
WATCHDOG = 1 << 20
"""Patience at reset: 3.5 ms at 300 MHz."""


@dataclass(frozen=True)
class Register:
    """Byte offset, access (``r``, ``w`` or ``rw``) and meaning of a register."""

    offset: int
    access: str
    meaning: str


REGISTERS = {
    "id": Register(0x00, "r", "0x44654d6f"),
    "version": Register(0x04, "r", "version of this map"),
    "control": Register(0x08, "w", "bit 0 start, bit 1 reset, bit 2 clear interrupt"),
    "status": Register(0x0C, "r", "bit 0 busy, bit 1 done, bit 2 error, bit 3 interrupt"),
    "interrupt_enable": Register(0x10, "rw", "bit 0 raises the interrupt on done or error"),
    "error_code": Register(0x14, "r", "ErrorCode of the last run"),
    "error_index": Register(0x18, "r", "descriptor it stopped at"),
    "program_low": Register(0x1C, "rw", "byte address of the program"),
    "program_high": Register(0x20, "rw", "its upper bits"),
    "program_length": Register(0x24, "rw", "descriptors"),
    "memory_low": Register(0x28, "rw", "byte address that descriptor addresses are relative to"),
    "memory_high": Register(0x2C, "rw", "its upper bits"),
    "memory_size": Register(0x30, "rw", "bytes that descriptor addresses may reach"),
    "watchdog": Register(0x34, "rw", "cycles without progress that end a program, 0: never"),
}
"""All registers but the counters, which are 64 bits each from ``COUNTERS_OFFSET`` on."""


class Registers(wiring.Component):
    """The register file.

    Members
    -------
    axi : ``In(AxiLite())``
        Unknown offsets are answered with SLVERR; reads of them give 0.
    start, reset : ``Out(1)``
        Commands.
    values : ``Out(32)`` by name
        The writable registers.
    busy, finished, failed, error, index : ``In``
        State of the sequencer.
    counters : ``In(64).array(len(COUNTERS))``
        Counters in the order of :data:`rtl.counters.COUNTERS`.
    interrupt : ``Out(1)``
        Done or error, if enabled, until cleared or started again.

    Timing
    ------
    A write takes effect in the cycle after both its channels are valid; a read is answered in the
    cycle after its address.
    """

    def __init__(self) -> None:
        self.writable = [name for name, register in REGISTERS.items() if register.access == "rw"]
        super().__init__({
            "axi": In(AxiLite()),
            "start": Out(1), "reset": Out(1),
            **{name: Out(32, init=WATCHDOG if name == "watchdog" else 0)
               for name in self.writable},
            "busy": In(1), "finished": In(1), "failed": In(1), "error": In(ErrorCode),
            "index": In(16), "counters": In(64).array(len(COUNTERS)), "interrupt": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        axi = flipped(self.axi)
        done, failed, raised = Signal(), Signal(), Signal()
        m.d.comb += self.interrupt.eq(raised & self.interrupt_enable[0])
        with m.If(self.start | self.reset):
            m.d.sync += [done.eq(0), failed.eq(0), raised.eq(0)]
        with m.If(self.finished):
            m.d.sync += [done.eq(1), raised.eq(1)]
        with m.If(self.failed):
            m.d.sync += [failed.eq(1), raised.eq(1)]
        self.write(m, axi, raised)
        self.read(m, axi, Cat(self.busy, done, failed, raised))

        return m

    def write(self, m: Module, axi, raised):
        """Take a write once its address and its data are there."""
        taken, known = Signal(), Signal()
        mask = Cat(bit.replicate(8) for bit in axi.wstrb)
        m.d.comb += [
            taken.eq(axi.awvalid & axi.wvalid & ~axi.bvalid),
            axi.awready.eq(taken), axi.wready.eq(taken),
        ]
        m.d.sync += [self.start.eq(0), self.reset.eq(0)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(taken):
            m.d.sync += [axi.bvalid.eq(1), axi.bresp.eq(Mux(known, OKAY, SLVERR))]
            with m.Switch(axi.awaddr[2:]):
                for name in self.writable:
                    register = getattr(self, name)
                    with m.Case(REGISTERS[name].offset >> 2):
                        m.d.comb += known.eq(1)
                        m.d.sync += register.eq((axi.wdata & mask) | (register & ~mask))
                with m.Case(REGISTERS["control"].offset >> 2):
                    m.d.comb += known.eq(1)
                    with m.If(axi.wstrb[0]):
                        m.d.sync += [self.start.eq(axi.wdata[0]), self.reset.eq(axi.wdata[1])]
                        with m.If(axi.wdata[2]):
                            m.d.sync += raised.eq(0)

    def read(self, m: Module, axi, status):
        """Answer a read."""
        fixed = {"id": Const(ID), "version": Const(VERSION), "status": status,
                 "error_code": self.error, "error_index": self.index}
        words = {REGISTERS[name].offset >> 2: value for name, value in fixed.items()}
        words |= {REGISTERS[name].offset >> 2: getattr(self, name) for name in self.writable}
        place, first, count = axi.araddr[2:], COUNTERS_OFFSET >> 2, 2 * len(COUNTERS)
        halves = Cat(*self.counters, Const(0, 32 * (first - count)))
        m.d.comb += axi.arready.eq(~axi.rvalid)
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(1), axi.rresp.eq(SLVERR), axi.rdata.eq(0)]
            with m.If((place >= first) & (place < first + count)):
                m.d.sync += [axi.rdata.eq(halves.word_select(place[:6], 32)), axi.rresp.eq(OKAY)]
            with m.Switch(place):
                for number, value in words.items():
                    with m.Case(number):
                        m.d.sync += [axi.rdata.eq(value), axi.rresp.eq(OKAY)]
