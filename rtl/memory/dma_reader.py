"""Transfers from memory to a stream of beats, several bursts in flight.

::

    command ──► bursts ──► AR        R ──► o
"""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import COMMAND
from rtl.memory.axi import OKAY, AxiRead
from rtl.memory.bursts import Bursts
from rtl.stream.fifo import Fifo
from rtl.stream.pipe import pipe


class DmaReader(wiring.Component):
    """Read transfers beat by beat, in order.

    Members
    -------
    i : ``In(stream.Signature(COMMAND))``
        Byte address and beats.
    o : ``Out(stream.Signature({data, last}))``
        Beats; ``last`` ends the transfer.
    axi : ``Out(AxiRead(hw.bus_bytes))``
        Memory.
    error : ``Out(1)``
        A beat came with an error; the transfer still runs to its end.

    Timing
    ------
    A command of cycle ``t`` raises ``arvalid`` in ``t + 1``; bursts follow one a cycle while
    fewer than ``outstanding`` are in flight. ``o`` is the R channel without a register.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(COMMAND)),
            "o": Out(stream.Signature(data.StructLayout({"data": 8 * hw.lanes, "last": 1}))),
            "axi": Out(AxiRead(hw.bus_bytes)),
            "error": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        hw, axi = self.hw, self.axi
        m.submodules.bursts = bursts = Bursts(hw)
        m.submodules.flight = flight = Fifo(1, hw.outstanding)
        taken = Signal()

        pipe(m, wiring.flipped(self.i), bursts.i)
        m.d.comb += [
            axi.arvalid.eq(bursts.o.valid & flight.i.ready), axi.araddr.eq(bursts.o.p.address),
            axi.arlen.eq(bursts.o.p.beats - 1), axi.arsize.eq(hw.bus_bytes.bit_length() - 1),
            axi.arburst.eq(1), axi.arcache.eq(0b0011),
            bursts.o.ready.eq(axi.arready & flight.i.ready),
            flight.i.valid.eq(axi.arvalid & axi.arready), flight.i.payload.eq(bursts.o.p.last),
            self.o.valid.eq(axi.rvalid), self.o.p.data.eq(axi.rdata),
            self.o.p.last.eq(axi.rlast & flight.o.payload), axi.rready.eq(self.o.ready),
            taken.eq(axi.rvalid & axi.rready), flight.o.ready.eq(taken & axi.rlast),
            self.error.eq(taken & (axi.rresp != OKAY)),
        ]

        return m
