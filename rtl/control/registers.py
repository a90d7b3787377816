"""Control, status and counters on AXI4-Lite."""

from collections.abc import Mapping

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.control.counters import COUNTERS
from deltamoe.rtl.control.register_map import (
    COUNTERS_OFFSET,
    REGISTERS,
    Access,
    Register,
    register_map,
)
from deltamoe.rtl.control.run_control import Commands
from deltamoe.rtl.memory.axi import OKAY, AxiLite
from deltamoe.rtl.record import Area, Record


def word(register: Register, values: Mapping[str, Value]) -> Value:
    """Return what a register reads as, by the values of its fields."""
    parts, place = [], 0
    for field in register.fields:
        value = Value.cast(values[field.name])
        if len(value) != field.width:
            raise ValueError(f"field {field.name} has {len(value)} bits, not {field.width}")
        parts += [Const(0, field.low - place), value]
        place = field.low + field.width
    return Cat(*parts)


class Registers(wiring.Component):
    """The register file.

    Its registers are those of :data:`deltamoe.rtl.control.register_map.REGISTERS`.

    Every access in the 4 KB is answered with OKAY. What is not readable reads as 0, and writes to
    what is not writable are ignored, so that neither a dump of all registers nor a driver for
    another version can stop a processor.

    The writable registers hold what the *next* start takes; a program that runs has a copy. All
    commands and ends are described in :class:`deltamoe.rtl.control.run_control.RunControl`. For a
    driver:

    ========================  =====================================================================
    written to ``control``    effect
    ========================  =====================================================================
    start                     Clears done, error and the interrupt's status, and begins; with bad
                              settings it ends at once with ``LENGTH`` or ``ADDRESS``, index 0.
                              Ignored while busy. While draining it waits, busy, for that to end; if
                              the watchdog expires first it ends with ``WATCHDOG``.
    reset                     Ends a program without a report: status (but for draining), status of
                              the interrupt, error and counters are 0 from the next cycle on. The
                              writable registers keep their values. A start may follow at once.
                              While draining, a beat that was offered before may still be written.
    ========================  =====================================================================

    ======================  =======================================================================
    a program ends with     then
    ======================  =======================================================================
    done                    All its results are in memory.
    any error               Transfers in flight were ended by the rules of the bus, without writing
                            more; results may be missing. What the chip held of this and of earlier
                            frames is lost. The next program can be started as after power-up.
    ``WATCHDOG``            The same, but the bus may still owe answers (draining).
    ======================  =======================================================================

    The interrupt is a level: high while a bit is set in both ``interrupt_status`` and
    ``interrupt_enable``. The end of a program, good or bad, sets the status, enabled or not. A one
    that is written to it takes the ends before the cycle in which it takes effect; in the cycle of
    an end the end wins, as over a start that is refused, so that no end is lost. It stays high
    until it is cleared, disabled, reset or started again.

    Members
    -------
    axi : ``In(AxiLite())``
        The registers, and the counters.
    commands : ``Out(Commands())``
        Commands, and the writable registers as settings.
    counters : ``In(64).array(len(COUNTERS))``
        Counters in the order of :data:`deltamoe.rtl.control.counters.COUNTERS`.
    interrupt : ``Out(1)``
        A program has ended.

    Timing
    ------
    Addresses and data of a write are taken each when they come; it takes effect, and is answered,
    two cycles after the later one. A read is answered in the cycle after its address. All outputs
    of ``axi`` are registers.
    """

    record = Record(moves="stores settings and counts", area=Area())

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "axi": In(AxiLite()), "commands": Out(Commands()),
            "counters": In(64).array(len(COUNTERS)), "interrupt": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        axi, commands = flipped(self.axi), self.commands
        done, failed, ended = Signal(), Signal(), Signal()
        clears = Signal()
        written = {name: Signal(register.width, name=name, init=register.reset)
                   for name, register in REGISTERS.items() if register.access is Access.BOTH}
        settings = commands.settings
        m.d.comb += [
            self.interrupt.eq(ended & written["interrupt_enable"]),
            settings.program_address.eq(Cat(written["program_low"], written["program_high"])),
            settings.length.eq(written["program_length"]),
            settings.memory_base.eq(Cat(written["memory_low"], written["memory_high"])),
            settings.memory_size.eq(written["memory_size"]),
            settings.watchdog.eq(written["watchdog"]),
        ]
        self.write(m, axi, written, {"ended": clears})
        with m.If(clears):
            m.d.sync += ended.eq(0)
        with m.If(commands.accepted | commands.reset):
            m.d.sync += [done.eq(0), failed.eq(0), ended.eq(0)]
        with m.If(commands.finished):
            m.d.sync += [done.eq(1), ended.eq(1)]
        with m.If(commands.failed):
            m.d.sync += [failed.eq(1), ended.eq(1)]
        shown = {
            "status": {"busy": commands.busy, "done": done, "error": failed,
                       "draining": commands.draining},
            "interrupt_status": {"ended": ended},
            "error_code": {"value": commands.error.code},
            "error_index": {"value": commands.error.index},
        }
        self.read(m, axi, written | {name: word(REGISTERS[name], values)
                                     for name, values in shown.items()})

        return m

    def write(self, m: Module, axi, written: Mapping[str, Signal],
              clears: Mapping[str, Signal]) -> None:
        """Perform writes: of registers, commands, and what clears the interrupt's status."""
        address = Signal.like(axi.awaddr)
        data = Signal(32)
        strobe = Signal(4)
        has_address, has_data = Signal(), Signal()
        performs = Signal()
        mask, ones = Signal(32), Signal(32)
        m.d.comb += [mask.eq(Cat(bit.replicate(8) for bit in strobe)), ones.eq(data & mask),
                     performs.eq(has_address & has_data & ~axi.bvalid),
                     axi.awready.eq(~has_address), axi.wready.eq(~has_data),
                     axi.bresp.eq(OKAY)]
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [address.eq(axi.awaddr), has_address.eq(1)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [data.eq(axi.wdata), strobe.eq(axi.wstrb), has_data.eq(1)]
        m.d.sync += [self.commands.start.eq(0), self.commands.reset.eq(0)]
        with m.If(axi.bready):
            m.d.sync += axi.bvalid.eq(0)
        with m.If(performs):
            m.d.sync += [axi.bvalid.eq(1), has_address.eq(0), has_data.eq(0)]
            with m.Switch(address[2:]):
                for name, register in REGISTERS.items():
                    if register.access is Access.READ:
                        continue
                    with m.Case(register.offset >> 2):
                        if register.access is Access.BOTH:
                            m.d.sync += written[name].eq(ones | (written[name] & ~mask))
                        for field in register.fields:
                            if register.access is Access.WRITE:
                                m.d.sync += getattr(self.commands, field.name).eq(ones[field.low])
                            elif register.access is Access.CLEAR:
                                m.d.comb += clears[field.name].eq(ones[field.low])

    def read(self, m: Module, axi, shown: Mapping[str, Value]) -> None:
        """Answer a read: a choice of the registers, a choice of the counters, one of the two.

        Elsewhere it is 0, by the reset of its flip-flops.
        """
        described, place = register_map(self.hw), axi.araddr[2:]
        values = {name: Const(described[name].reset, 32) if register.constant else shown[name]
                  for name, register in REGISTERS.items() if register.access.readable}
        words = {REGISTERS[name].offset >> 2: Cat(value, Const(0, 32 - len(value)))
                 for name, value in values.items()}
        first, bits = COUNTERS_OFFSET >> 2, max(words).bit_length()
        at_counters, inside = place[first.bit_length() - 1], place[:first.bit_length() - 1]
        registers = Cat(words.get(number, Const(0, 32)) for number in range(1 << bits))
        counters = Cat(*self.counters, Const(0, 32 * first - 64 * len(COUNTERS)))
        m.d.comb += [axi.arready.eq(~axi.rvalid), axi.rresp.eq(OKAY)]
        with m.If(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(Mux(
                at_counters, counters.word_select(inside, 32),
                registers.word_select(inside[:bits], 32)))]
            with m.If((place[first.bit_length():] != 0)
                      | (~at_counters & (inside[bits:] != 0))):
                m.d.sync += axi.rdata.eq(0)
