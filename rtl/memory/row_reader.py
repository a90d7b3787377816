"""Rows of the residual stream, word by word."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
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
        The sink will take a whole row without a stall, or the port is always granted.
    read : ``Out(YieldingRead(hw.residual_words, residual_of(hw)))``
        Read port. A word that the sink does not take is read again, which saves a register.
    o : ``Out(stream.Signature(beat(signed(16), hw.word)))``
        Words; ``last`` ends a row.

    Timing
    ------
    The first word is on ``o`` two cycles after ``start``, or in the cycle after its row became
    available, then one for each cycle in which the port is free. A row is begun ``BETWEEN`` cycles
    after the last word of the row before was read, at the earliest.
    """

    record = Record(moves="reads rows", combinational={
        "o.payload": ("read.data",),
        "read.address": ("o.ready",),
    })

    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "start": In(1), "base": In(range(hw.residual_words)),
            "rows": In(range(hw.max_tokens + 1)), "words": In(range(hw.embed_words + 1)),
            "available": In(range(hw.max_tokens + 1)),
            "room": In(1), "read": Out(YieldingRead(hw.residual_words, residual_of(hw))),
            "o": Out(stream.Signature(beat(signed(16), hw.word))),
        })

    def elaborate(self, platform):
        m = Module()
        running, row, position = Signal(), Signal.like(self.rows), Signal.like(self.words)
        last, reads, enable = Signal(), Signal(), Signal()
        following, previous = Signal.like(self.base), Signal.like(self.base)

        m.d.comb += [
            last.eq(position + 1 == self.words), self.o.p.data.eq(self.read.data),
            enable.eq(self.o.ready | ~self.o.valid),
            reads.eq(running & (row < self.available) & self.read.granted & Mux(
                position == 0, self.room & ~self.o.valid, enable)),
            self.read.address.eq(Mux(enable, following, previous)),
        ]
        with m.If(self.start & ~running):
            m.d.sync += [running.eq(1), row.eq(0), position.eq(0),
                         following.eq(self.base)]
        with m.Elif(reads):
            m.d.sync += [following.eq(following + 1), previous.eq(following),
                         position.eq(position + 1)]
            with m.If(last):
                m.d.sync += [position.eq(0), row.eq(row + 1), running.eq(row + 1 != self.rows)]
        with m.If(enable):
            m.d.sync += [self.o.valid.eq(reads), self.o.p.last.eq(last)]

        return m
