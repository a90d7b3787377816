"""Rows of the residual stream, word by word."""

from amaranth import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.cycles import Residual
from deltamoe.rtl.formats import beat
from deltamoe.rtl.interfaces import YieldingRead, residual_of
from deltamoe.rtl.record import Record


class RowReader(cycles.RowReader, wiring.Component):
    """Read ``rows`` rows of ``words`` words from ``base`` on.

    Members
    -------
    start : ``In(1)``
        Begin; ignored while running.
    base, rows, words : ``In``
        Stable until the last word has left.
    available : ``In(range(hw.max_tokens + 1))``
        Rows that may be read.
    room : ``In(1)``
        The sink will take a whole row.
    read : ``Out(YieldingRead(hw.residual_words, residual_of(hw)))``
        Read port; data come ``Residual.READ`` cycles after their address.
    o : ``Out(stream.Signature(beat(signed(16), hw.word), always_ready=True))``
        Words; ``last`` ends a row.

    Timing
    ------
    The first word is read in the cycle after ``start`` and is on ``o`` ``LATENCY`` cycles after
    ``start``; then one follows for each cycle in which the port is free. A row that becomes
    available is read in that cycle. A row is begun ``BETWEEN`` cycles after the last word of the
    row before was read, at the earliest: ``room`` counts that word from then on.
    """

    record = Record(moves="reads rows", combinational={
        "o.payload": ("read.data",),
    })

    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "start": In(1), "base": In(range(hw.residual_words)),
            "rows": In(range(hw.max_tokens + 1)), "words": In(range(hw.embed_words + 1)),
            "available": In(range(hw.max_tokens + 1)),
            "room": In(1), "read": Out(YieldingRead(hw.residual_words, residual_of(hw))),
            "o": Out(stream.Signature(beat(signed(16), hw.word), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        running, row, position = Signal(), Signal.like(self.rows), Signal.like(self.words)
        last, reads = Signal(), Signal()
        asked, ends = Signal(Residual.READ), Signal(Residual.READ)

        m.d.comb += [
            last.eq(position + 1 == self.words),
            reads.eq(running & (row < self.available) & self.read.granted
                     & ((position != 0) | (self.room & ~asked.any()))),
            self.o.valid.eq(asked[-1]), self.o.p.last.eq(ends[-1]),
            self.o.p.data.eq(self.read.data),
        ]
        m.d.sync += [asked.eq((asked << 1) | reads), ends.eq((ends << 1) | last)]
        with m.If(self.start & ~running):
            m.d.sync += [running.eq(1), row.eq(0), position.eq(0),
                         self.read.address.eq(self.base)]
        with m.Elif(reads):
            m.d.sync += [self.read.address.eq(self.read.address + 1), position.eq(position + 1)]
            with m.If(last):
                m.d.sync += [position.eq(0), row.eq(row + 1), running.eq(row + 1 != self.rows)]

        return m
