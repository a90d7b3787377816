"""A transfer to its bursts: none longer than allowed, none across a 4 KB boundary.

Several ports share memory block by block, so that none of their bursts goes beyond a block, either.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl.config import PAGE, HwConfig
from deltamoe.rtl.formats import COMMAND
from deltamoe.rtl.memory.axi import ADDRESS_WIDTH
from deltamoe.rtl.record import Record

BURST = data.StructLayout({"address": ADDRESS_WIDTH, "beats": 9, "single": 1, "last": 1})
"""One burst; ``single`` tells that it has one beat, ``last`` marks the transfer's final one."""


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
    next command may enter in the cycle in which the last burst leaves. ``o.valid`` and the address
    are registers; all else of a burst is one comparison of registers away from them, since what the
    page allows is counted ahead.
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
        size, whole = self.hw.bus_bytes, PAGE if self.hw.memory_ports == 1 else self.hw.block_bytes
        page = whole // size
        longest = min(self.hw.burst_beats, page)
        address, left = Signal(ADDRESS_WIDTH), Signal(24)
        first, valid = Signal(range(page + 1)), Signal()
        to_page = Signal(range(page + 1))
        allowed = Signal(range(longest + 1))

        m.d.comb += [
            first.eq(page - (self.i.p.address % whole) // size),
            self.o.valid.eq(valid), self.o.p.address.eq(address),
            self.o.p.last.eq(left <= allowed),
            self.o.p.beats.eq(Mux(self.o.p.last, left, allowed)),
            self.o.p.single.eq((left == 1) | (allowed == 1)),
            self.i.ready.eq(~valid | (self.o.ready & self.o.p.last)),
        ]
        with m.If(valid & self.o.ready):
            m.d.sync += [
                address.eq(address + allowed * size), left.eq(left - allowed),
                valid.eq(~self.o.p.last),
                to_page.eq(Mux(to_page <= longest, page, to_page - longest)),
                allowed.eq(Mux((to_page <= longest) | (to_page >= 2 * longest), longest,
                               to_page - longest)),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                address.eq(self.i.p.address), left.eq(self.i.p.beats), valid.eq(1),
                to_page.eq(first), allowed.eq(Mux(first < longest, first, longest)),
            ]

        return m
