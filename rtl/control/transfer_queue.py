"""Loads on their way to the loader.

::

    i ──► queue ──►│──► o
"""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, flipped

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.formats import TRANSFER
from deltamoe.rtl.record import Area, Record
from deltamoe.rtl.stream.fifo import Fifo
from deltamoe.rtl.stream.pipe import pipe


class TransferQueue(cycles.TransferQueue, wiring.Component):
    """Hold up to ``DEPTH`` transfers, of which the oldest is in a register.

    The loader decides late in a cycle that it takes one, so nothing else is in this unit: what
    follows in the same cycle enables registers.

    Members
    -------
    i, o : ``In(stream.Signature(TRANSFER))``, ``Out(stream.Signature(TRANSFER))``
        Transfers, in order.

    Timing
    ------
    A transfer of cycle ``t`` is on ``o`` from ``t + LATENCY`` on, or from the cycle after the one
    before it was taken.
    """

    record = Record(moves="stores transfers", area=Area())

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        super().__init__({"i": In(stream.Signature(TRANSFER)),
                          "o": Out(stream.Signature(TRANSFER))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.waiting = waiting = Fifo(TRANSFER, self.DEPTH - 1)
        pipe(m, flipped(self.i), waiting.i)
        m.d.comb += waiting.o.ready.eq(~self.o.valid | self.o.ready)
        with m.If(waiting.o.ready):
            m.d.sync += [self.o.valid.eq(waiting.o.valid), self.o.payload.eq(waiting.o.payload)]

        return m
