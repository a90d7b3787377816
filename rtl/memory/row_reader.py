"""Rows of the residual stream, word by word."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import HwConfig
from rtl.formats import beat


class RowReader(wiring.Component):
    """Read ``rows`` rows of ``words`` words from ``base`` on.

    Members
    -------
    start : ``In(1)``
        Begin; ignored while running.
    base, rows, words : ``In(16)``
        Stable until the last word has left.
    available : ``In(16)``
        Rows that may be read.
    address, enable, data : ``Out(16)``, ``Out(1)``, ``In``
        Read port; data follow in the next cycle and hold while ``enable`` is low.
    o : ``Out(stream.Signature(beat(signed(16), hw.word)))``
        Words; ``last`` ends a row.

    Timing
    ------
    The first word is on ``o`` two cycles after ``start``, or in the cycle after its row became
    available, then one a cycle.
    """

    LATENCY = 2
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        word = data.ArrayLayout(signed(16), hw.word)
        super().__init__({
            "start": In(1), "base": In(16), "rows": In(16), "words": In(16), "available": In(16),
            "address": Out(16), "enable": Out(1), "data": In(word),
            "o": Out(stream.Signature(beat(signed(16), hw.word))),
        })

    def elaborate(self, platform):
        m = Module()
        running, row, position = Signal(), Signal(16), Signal(16)
        last, reads = Signal(), Signal()

        m.d.comb += [
            last.eq(position + 1 == self.words), self.o.p.data.eq(self.data),
            self.enable.eq(self.o.ready | ~self.o.valid),
            reads.eq(running & (row < self.available)),
        ]
        with m.If(self.start & ~running):
            m.d.sync += [running.eq(1), row.eq(0), position.eq(0),
                         self.address.eq(self.base)]
        with m.Elif(self.enable & reads):
            m.d.sync += [self.address.eq(self.address + 1), position.eq(position + 1)]
            with m.If(last):
                m.d.sync += [position.eq(0), row.eq(row + 1), running.eq(row + 1 != self.rows)]
        with m.If(self.enable):
            m.d.sync += [self.o.valid.eq(reads), self.o.p.last.eq(last)]

        return m
