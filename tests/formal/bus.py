"""The DMA units and the registers between all that may be around them, and what must hold.

::

    any command inside a window ──► DmaReader, DmaWriter ◄──► any memory that keeps to AXI
                   drain, clear ──►

A memory answers what it owes, in order, when it likes and with what it likes. Commands, beats and
stalls are whatever the solver likes. ``drain`` lasts until a cycle of ``clear``, which comes when
the unit is idle, as :class:`deltamoe.rtl.control.run_control.RunControl` sees to. The window is any
one that is aligned and does not wrap.
"""

from amaranth import Array, Cat, Module, Mux, ResetInserter, ResetSignal, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import PAGE, HwConfig
from deltamoe.rtl.control.register_map import REGISTERS, register_map
from deltamoe.rtl.control.registers import Registers
from deltamoe.rtl.control.run_control import PROBLEM
from deltamoe.rtl.formats import COMMAND
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH, OKAY, AxiLite
from deltamoe.rtl.memory.dma_reader import DmaReader
from deltamoe.rtl.memory.dma_writer import DmaWriter

ALL = (1 << 32) - 1
WIDE = ADDRESS_WIDTH + 4
"""Bits in which no sum of an address and a transfer's bytes overflows."""

FOLLOWED = ["(= [dut.bursts.o__valid] (distinct [left] #x000000))",
            *(f"(=> [dut.bursts.o__valid] (= [dut.bursts.{register}] [{name}]))"
              for register, name in (("o__payload.address", "next_address"), ("left", "left"),
                                     ("to_page", "to_page"), ("allowed", "allowed")))]
"""Where the unit is in its command: as :meth:`Surroundings.follow` says."""


def constant(m: Module, value) -> None:
    """Assume that a value never changes."""
    past, begun = Signal(len(value)), Signal()
    m.d.sync += [past.eq(value), begun.eq(1)]
    m.d.comb += Assume(~begun | (value == past))


def stays(m: Module, claim, name: str, valid, ready, payload, until=0) -> Signal:
    """Claim that what is offered stays until it is taken, or ``until``; return if it waits."""
    payload = Value.cast(payload)
    waits = Signal(name=f"{name}_waits")
    past = Signal(len(payload), name=f"{name}_past")
    m.d.sync += [waits.eq(valid & ~ready & ~until), past.eq(payload)]
    m.d.comb += claim(~waits | (valid & (payload == past)))
    return waits


class Surroundings(wiring.Component):
    """What reader and writer have in common: window, command, drain and clear."""

    def __init__(self, hw: HwConfig, channels: dict) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(COMMAND)), "first": In(ADDRESS_WIDTH), "end": In(WIDE),
            "drain": In(1), "clear": In(1), **channels})

    def surround(self, m: Module, dut) -> None:
        """Connect the command and assume what the rest of the accelerator sees to."""
        i, size, past = self.i, self.hw.bus_bytes, Signal()
        constant(m, Cat(self.first, self.end))
        stays(m, Assume, "i", i.valid, i.ready, i.payload, self.clear)
        m.d.sync += past.eq(self.drain & ~self.clear)
        command_end = Signal(WIDE)
        m.submodules.dut = ResetInserter(self.clear)(dut)
        m.d.comb += [
            dut.i.valid.eq(i.valid), dut.i.payload.eq(i.payload), i.ready.eq(dut.i.ready),
            dut.bus.drain.eq(self.drain),
            Assume(~ResetSignal()), Assume(~past | self.drain),
            Assume(~self.clear | (self.drain & dut.bus.idle)),
            command_end.eq(i.p.address + i.p.beats * size),
            Assume(~i.valid | ((i.p.beats != 0) & (i.p.address % size == 0)
                               & (i.p.address >= self.first) & (command_end <= self.end))),
            Assume((self.first % size == 0) & (self.end <= 1 << ADDRESS_WIDTH)),
        ]

    def offer(self, m: Module, dut, name: str):
        """Claim what holds of any address that the unit offers; return its beats, taken, waits."""
        valid, ready, address, length = (getattr(dut.axi, f"{name}{part}")
                                         for part in ("valid", "ready", "addr", "len"))
        beats, taken = Signal(9), Signal()
        m.d.comb += [beats.eq(length + 1), taken.eq(valid & ready)]
        waits = stays(m, Assert, name, valid, ready, Cat(address, length))
        _, left = self.follow(m, beats, taken)
        m.d.comb += [Assert(~(self.drain & valid) | waits), Assert(~waits | (left != 0))]
        self.bound(m, name, valid, address, beats)
        return beats, taken, waits

    def follow(self, m: Module, beats, taken):
        """Return what is left of a command, beat by beat of its bursts, and where it goes on.

        Claim that it lies in the window. ``beats`` is the length of a burst that is ``taken``.
        """
        size, i = self.hw.bus_bytes, self.i
        page = PAGE // size
        longest = min(self.hw.burst_beats, page)
        next_address = Signal(ADDRESS_WIDTH)
        to_page = Signal(range(page + 1))
        allowed = Signal(range(longest + 1))
        left = Signal(24)
        end = Signal(WIDE)
        with m.If(taken):
            m.d.sync += [next_address.eq(next_address + beats * size), left.eq(left - beats)]
        with m.If(i.valid & i.ready):
            m.d.sync += [next_address.eq(i.p.address), left.eq(i.p.beats)]
        with m.If(self.clear):
            m.d.sync += [next_address.eq(0), left.eq(0)]
        m.d.comb += [
            to_page.eq(page - next_address % PAGE // size), Assert(~taken | (beats <= allowed)),
            allowed.eq(Mux(to_page < longest, to_page, longest)),
            end.eq(next_address + left * size), Assert(next_address % size == 0),
            Assert((left == 0) | ((next_address >= self.first) & (end <= self.end)))]
        return next_address, left

    def bound(self, m: Module, name: str, valid, address, beats) -> None:
        """Claim of an address that it is aligned, in the window, in one page, not too long."""
        size, hw = self.hw.bus_bytes, self.hw
        end = Signal(WIDE, name=f"{name}_end")
        m.d.comb += [
            end.eq(address + beats * size),
            Assert(~valid | (address % size == 0)),
            Assert(~valid | (beats <= hw.burst_beats)),
            Assert(~valid | (address % PAGE + beats * size <= PAGE)),
            Assert(~valid | ((address >= self.first) & (end <= self.end)))]


class Reading(Surroundings):
    """A reader, or a wrong one, and a memory that owes beats."""

    def __init__(self, hw: HwConfig, make: type[DmaReader] = DmaReader) -> None:
        assert hw.outstanding == 2, "the invariants say where the second burst is"
        self.make = make
        self.invariants = [
            *FOLLOWED, "(= [dut.flight.under_way] (bvsub (bvshl #b01 [level]) #b01))",
            "(= [dut.flight.oldest__present] (distinct [level] #b00))",
            "(= [dut.flight.read__addr] (xor [head] [dut.flight.oldest__present]))",
            "(= [dut.flight.$signature__addr] [tail])",
            "(=> [dut.flight.oldest__present] (= [dut.flight.left] [missing]))",
            ("(=> [dut.flight.oldest__present]"
             " (= [dut.flight.oldest__ends] (= [missing] #b000000001)))"),
            *(f"(= ((_ extract 8 0) [dut.flight.words[{n}]]) [beats_{n}])"
              for n in range(hw.outstanding)),
            *(f"(= ((_ extract 9 9) [dut.flight.words[{n}]])"
              f" (ite (= [beats_{n}] #b000000001) #b1 #b0))"
              for n in range(hw.outstanding))]
        super().__init__(hw, {"o_ready": In(1), "arready": In(1),
                              "rvalid": In(1), "rresp": In(2), "rlast": In(1)})

    def elaborate(self, platform):
        m = Module()
        dut = self.make(self.hw)
        axi = dut.axi
        self.surround(m, dut)
        m.d.comb += [
            dut.o.ready.eq(self.o_ready), axi.arready.eq(self.arready),
            axi.rvalid.eq(self.rvalid), axi.rresp.eq(self.rresp), axi.rlast.eq(self.rlast),
        ]
        _, taken, _ = self.offer(m, dut, "ar")
        self.owe(m, dut, taken)
        return m

    def owe(self, m: Module, dut: DmaReader, taken) -> None:
        """Claim that the drain takes every beat that is owed, and that idle means there is none."""
        axi, depth = dut.axi, self.hw.outstanding
        bursts = Array(Signal(9, name=f"beats_{n}") for n in range(depth))
        head = Signal(range(depth))
        tail = Signal(range(depth))
        level = Signal(range(depth + 1))
        beat = Signal(8)
        missing = Signal(9)
        owed, sums, answered, ends = Signal(range(depth * 256 + 1)), 0, Signal(), Signal()
        m.d.comb += [
            answered.eq(axi.rvalid & axi.rready), missing.eq(bursts[head] - beat),
            ends.eq(answered & (missing == 1)),
            Assume(~axi.rvalid | (owed != 0)), Assert(level <= depth),
            Assert(tail == (head + level) % depth),
        ]
        with m.If(taken):
            m.d.sync += [bursts[tail].eq(axi.arlen + 1), tail.eq((tail + 1) % depth)]
        m.d.sync += [owed.eq(owed + Mux(taken, axi.arlen + 1, 0) - answered),
                     level.eq(level + taken - ends)]
        with m.If(answered):
            m.d.sync += beat.eq(Mux(ends, 0, beat + 1))
        with m.If(ends):
            m.d.sync += head.eq((head + 1) % depth)
        with m.If(self.clear):
            m.d.sync += [head.eq(0), tail.eq(0)]
        for n in range(depth):
            sums += Mux(n < level, bursts[(head + n) % depth], 0)
            m.d.comb += [Assert(bursts[n] <= self.hw.burst_beats),
                         Assert((n >= level) | (bursts[(head + n) % depth] != 0))]
        m.d.comb += [
            Assert(owed == sums - beat), Assert((level == 0) | (beat < bursts[head])),
            Assert((beat == 0) | (level != 0)),
            Assert(~(self.drain & axi.rvalid) | axi.rready),
            Assert(~dut.bus.idle | ((owed == 0) & ~(self.drain & axi.arvalid))),
        ]


class Writing(Surroundings):
    """A writer, or a wrong one, and a memory that answers whole bursts.

    Fewer than 65,535 bursts wait for their answers, which is what the writer counts to.
    """

    def __init__(self, hw: HwConfig, make: type[DmaWriter] = DmaWriter) -> None:
        self.make = make
        self.invariants = [*FOLLOWED, "(= [dut.left] [to_write])", "(= [dut.unanswered] [owed])",
                           "(= [dut.writing] (distinct [to_write] #b000000000))",
                           "(= [dut.awaited] (distinct [owed] #x000000))",
                           "(= [dut.single] (= [owed] #x000001))"]
        super().__init__(hw, {"data": In(stream.Signature(8 * hw.bus_bytes)), "awready": In(1),
                              "wready": In(1), "bvalid": In(1), "bresp": In(2)})

    def elaborate(self, platform):
        m = Module()
        dut = self.make(self.hw)
        axi = dut.axi
        self.surround(m, dut)
        m.d.comb += [
            dut.data.valid.eq(self.data.valid), dut.data.payload.eq(self.data.payload),
            self.data.ready.eq(dut.data.ready), axi.awready.eq(self.awready),
            axi.wready.eq(self.wready), axi.bvalid.eq(self.bvalid), axi.bresp.eq(self.bresp),
            Assert(axi.bready),
        ]
        data, beat, drained = self.data, Signal(8 * self.hw.bus_bytes), Signal()
        stays(m, Assume, "data", data.valid, data.ready, data.payload,
              self.clear | (dut.done & ~axi.wvalid))
        m.d.sync += [beat.eq(data.payload), drained.eq(self.drain & ~self.clear)]
        m.d.comb += Assume(~drained | (data.payload == beat))
        beats, _, waits = self.offer(m, dut, "aw")
        self.owe(m, dut, beats, axi.awvalid & ~waits, waits)
        return m

    def owe(self, m: Module, dut: DmaWriter, beats, begins, waits) -> None:
        """Claim that a burst has its beats and no other, and that idle means that none is open."""
        axi, taken, closes = dut.axi, Signal(), Signal()
        to_write = Signal(9)
        owed = Signal(24)
        following = Signal(9)
        begun = Signal()
        whole = Signal(24)
        drained = Signal()
        held = stays(m, Assert, "w", axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb, axi.wlast))
        m.d.sync += [drained.eq(self.drain), to_write.eq(following),
                     owed.eq(owed + begins - axi.bvalid), begun.eq((begun | begins) & ~closes),
                     whole.eq(whole + closes - axi.bvalid)]
        m.d.comb += [
            taken.eq(axi.wvalid & axi.wready),
            following.eq(Mux(begins, beats, to_write) - taken),
            closes.eq((begun | begins) & ~(axi.awvalid & ~axi.awready) & (following == 0)),
            Assume(~axi.bvalid | (whole != 0)), Assume(owed < 0xFFFFFF),
            Assert(~axi.wvalid | (to_write != 0)),
            Assert(~axi.wvalid | (axi.wlast == (to_write == 1))),
            Assert(~(axi.wvalid & self.drain & drained & ~held) | (axi.wstrb == 0)),
            Assert(~begins | (to_write == 0)),
            Assert(owed == whole + begun), Assert(begun == ((to_write != 0) | waits)),
            Assert(~dut.bus.idle | ~(begun | (whole != 0) | (self.drain & axi.awvalid))),
        ]


class Accesses(wiring.Component):
    """The registers, or wrong ones, any processor that keeps to AXI4-Lite, and any program."""

    def __init__(self, hw: HwConfig, make: type[Registers] = Registers) -> None:
        self.hw, self.make = hw, make
        self.invariants = [f"(= [dut.{name}] [{name}])"
                           for name in ("ended", "address", "data", "strobe", "interrupt_enable")]
        super().__init__({
            **{name: In(member.shape) for name, member in AxiLite().members.items()
               if member.flow is Out},
            "accepted": In(1), "finished": In(1), "failed": In(1), "busy": In(1),
            "draining": In(1), "error": In(PROBLEM)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.make(self.hw)
        axi, read = dut.axi, Signal()
        m.d.comb += [getattr(axi, name).eq(getattr(self, name))
                     for name, member in AxiLite().members.items() if member.flow is Out]
        m.d.comb += [getattr(dut.commands, name).eq(getattr(self, name)) for name in (
            "accepted", "finished", "failed", "busy", "draining", "error")]
        m.d.comb += Assume(~ResetSignal())
        stays(m, Assert, "r", axi.rvalid, axi.rready, Cat(axi.rdata, axi.rresp))
        stays(m, Assert, "b", axi.bvalid, axi.bready, axi.bresp)
        taken, answered = axi.arvalid & axi.arready, axi.rvalid & axi.rready
        m.d.sync += read.eq(read + taken - answered)
        m.d.comb += [Assert(axi.rvalid == read), Assert(axi.arready == ~read),
                     Assert(axi.rresp == OKAY), Assert(axi.bresp == OKAY)]
        self.answer(m, axi)
        self.raise_interrupt(m, dut)
        self.read_constants(m, axi)
        return m

    def answer(self, m: Module, axi) -> None:
        """Claim one answer for an address and a word, and that it comes."""
        answered, both = axi.bvalid & axi.bready, Signal()
        due = {}
        for name in ("aw", "w"):
            due[name] = Signal(range(3), name=f"{name}_due")
            valid, ready = (getattr(axi, f"{name}{part}") for part in ("valid", "ready"))
            m.d.sync += due[name].eq(due[name] + (valid & ready) - answered)
            m.d.comb += Assert(due[name] == axi.bvalid + ~ready)
        m.d.sync += both.eq((due["aw"] != 0) & (due["w"] != 0) & ~answered)
        m.d.comb += Assert(~(both & (due["aw"] != 0) & (due["w"] != 0)) | axi.bvalid)

    def raise_interrupt(self, m: Module, dut: Registers) -> None:
        """Claim that an end raises the interrupt, and that only what comes later takes it.

        A one that is written to its status in the cycle of an end does not.
        """
        axi, commands = dut.axi, dut.commands
        address = Signal(12)
        data = Signal(32)
        strobe = Signal(4)
        ended = Signal()
        clears, performs = Signal(), Signal()
        interrupt_enable = Signal()
        with m.If(axi.awvalid & axi.awready):
            m.d.sync += address.eq(axi.awaddr)
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [data.eq(axi.wdata), strobe.eq(axi.wstrb)]
        m.d.comb += [
            performs.eq(~axi.awready & ~axi.wready & ~axi.bvalid),
            clears.eq(performs & strobe[0] & data[0]
                      & (address[2:] == REGISTERS["interrupt_status"].offset >> 2)),
            Assert(dut.interrupt == (ended & interrupt_enable))]
        with m.If(performs & strobe[0]
                  & (address[2:] == REGISTERS["interrupt_enable"].offset >> 2)):
            m.d.sync += interrupt_enable.eq(data[0])
        m.d.sync += ended.eq((ended & ~(clears | commands.accepted | commands.reset))
                             | commands.finished | commands.failed)

    def read_constants(self, m: Module, axi) -> None:
        """Claim that constants are read as described, and as 0 what is no field of a register."""
        readable = [register for register in register_map(self.hw).values()
                    if register.access.readable]
        fixed, constant = Signal(32), Signal(32)
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [fixed.eq(ALL), constant.eq(0)]
            with m.Switch(axi.araddr[2:]):
                for register in readable:
                    fields = sum(field.mask for field in register.fields)
                    with m.Case(register.offset >> 2):
                        m.d.sync += [fixed.eq(ALL if register.constant else ALL & ~fields),
                                     constant.eq(register.reset if register.constant else 0)]
        m.d.comb += Assert(~axi.rvalid | (axi.rdata & fixed == constant))
