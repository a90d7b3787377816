"""The memory of activations, which operators read and write, and which the image is loaded into.

::

    word ──► its part of a row ──┬──► halves ──►│──► row ──► word
    image ──► half a row or all ─┘
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.interfaces import ActivationRead, Write, bytes_of
from deltamoe.rtl.memory.halves import Halves
from deltamoe.rtl.record import Ram, Record


class Activations(cycles.Activations, wiring.Component):
    """Keep ``hw.act_words`` words in rows of ``hw.act_row``.

    Members
    -------
    write : ``In(Write(hw.act_words, bytes_of(hw)))``
        A word of an operator's results.
    load : ``In(Write(hw.act_words // 2, 8 * hw.lanes))``
        Two words of the image, in the other half of the memory than a word that is written in the
        same cycle.
    read : ``In(ActivationRead(hw))``
        A word, and those beside it.

    Timing
    ------
    A word written in cycle ``t`` can be read from cycle ``t + 1`` on. A word is on ``read``
    ``READ`` cycles after its address: a row is in registers, which are those of the block RAM,
    before its half and its word are chosen. Without them ``ulx3s``, whose halves are of many block
    RAMs, has 10.6 levels of LUTs to the operand source's ``o``; with them, at most 7.5 to either.
    """

    record = Record(moves="stores words")

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "write": In(Write(hw.act_words, bytes_of(hw))),
            "load": In(Write(hw.act_words // 2, 8 * hw.lanes)),
            "read": In(ActivationRead(hw)),
        })

    @staticmethod
    def rams(hw: HwConfig) -> tuple[Ram, ...]:
        """Its memories."""
        return Halves.rams(8 * hw.word * hw.act_row, hw.act_words // hw.act_row, hw.act_row)

    def elaborate(self, platform):
        m = Module()
        hw, size, read = self.hw, self.hw.act_row, self.read
        low = size.bit_length() - 1
        m.submodules.rows = rows = Halves(
            data.ArrayLayout(8 * hw.word, size), hw.act_words // size, size)
        parts = Signal(low), Signal(low)
        halves = [Signal.like(half, name=f"half_{n}") for n, half in enumerate(rows.halves)]
        upper, row = Signal(), Signal.like(rows.read.data)
        m.d.sync += [parts[0].eq(read.address[:low]), parts[1].eq(parts[0]), upper.eq(rows.upper),
                     *(half.eq(port) for half, port in zip(halves, rows.halves, strict=True))]
        m.d.comb += [
            rows.load.en.eq(self.load.en.replicate(2) << 2 * self.load.address[: low - 1]),
            rows.load.address.eq(self.load.address >> low - 1),
            rows.load.data.eq(self.load.data.replicate(size // 2)),
            rows.write.en.eq(self.write.en << self.write.address[:low]),
            rows.write.address.eq(self.write.address >> low),
            rows.write.data.eq(self.write.data.as_value().replicate(size)),
            rows.read.address.eq(read.address >> low), row.eq(Mux(upper, halves[1], halves[0])),
            read.data.eq(row[parts[1]]),
        ]
        if hw.read_words > 1:
            m.d.comb += read.upper.eq(upper)
            m.d.comb += [read.beside[half][n].eq(halves[half][n + 1])
                         for half in range(2) for n in range(hw.read_words - 1)]

        return m
