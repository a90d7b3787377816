"""A transfer to its bursts: none longer than allowed, none across a 4 KB boundary."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import PAGE
from deltamoe.rtl.formats import COMMAND
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH
from deltamoe.rtl.record import Record

BURST = data.StructLayout({"address": ADDRESS_WIDTH, "beats": 9, "last": 1})
"""One burst; ``last`` marks the transfer's final one."""


class Bursts(wiring.Component):
    """Split a command, whose address is a multiple of the beat, into bursts.

    Members
    -------
    i : ``In(stream.Signature(COMMAND))``
        Transfers of at least one beat.
    o : ``Out(stream.Signature(BURST))``
        Bursts in ascending order of address.

    Timing
    ------
    The first burst is on ``o`` in the cycle after its command came in, then one a cycle; the
    next command may enter in the cycle in which the last burst leaves.
    """

    record = Record(moves="splits commands", combinational={
        "i.ready": ("o.ready",),
    })

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(COMMAND)), "o": Out(stream.Signature(BURST)),
        })

    def elaborate(self, platform):
        m = Module()
        size, longest = self.hw.bus_bytes, self.hw.burst_beats
        address, left = Signal(ADDRESS_WIDTH), Signal(24)
        to_page, allowed = Signal(range(PAGE // size + 1)), Signal(range(longest + 1))

        m.d.comb += [
            to_page.eq(PAGE // size - (address % PAGE) // size),
            allowed.eq(Mux(to_page < longest, to_page, longest)),
            self.o.valid.eq(left != 0), self.o.p.address.eq(address),
            self.o.p.last.eq(left <= allowed),
            self.o.p.beats.eq(Mux(self.o.p.last, left, allowed)),
            self.i.ready.eq((left == 0) | (self.o.ready & self.o.p.last)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [address.eq(address + self.o.p.beats * size),
                         left.eq(left - self.o.p.beats)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [address.eq(self.i.p.address), left.eq(self.i.p.beats)]

        return m
