"""GELU, or any other function of ten bits, by table.

One register::

    int10 ──► table[bank] ──►│──► uint8
    other ──────────────────►│──► unchanged
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from deltamoe.golden.numerics import HIDDEN, TABLE, UPDATE
from deltamoe.rtl import cycles
from deltamoe.rtl.config import HwConfig
from deltamoe.rtl.descriptor import Dest
from deltamoe.rtl.formats import requantized, tag
from deltamoe.rtl.interfaces import attach, table_write
from deltamoe.rtl.memory.block_memory import BlockMemory
from deltamoe.rtl.record import Area, Ram, Record


class ActivationTable(cycles.ActivationTable, wiring.Component):
    """Look up words on their way to ``Dest.HIDDEN``; let all others pass.

    ``u = table[bank][q mod 1024]`` for ``q`` in -512..511;
    :func:`deltamoe.golden.arithmetic.gelu.gelu` is its reference. The contents come from the weight
    file; two banks let one be filled while the other is in use.

    Members
    -------
    i, o : ``In(stream.Signature(requantized(hw), always_ready=True))``, ``Out(…)``
        Words with their tag, which names the bank.
    write : ``In(table_write())``
        An entry.

    Timing
    ------
    One word a cycle, one cycle of latency; nothing stalls.
    """

    record = Record(twin="arithmetic.gelu", area=Area(
        block=lambda hw: (Ram(8, 2048, hw.word),),
        grows=lambda hw: (hw.word,)))

    i: stream.Interface
    o: stream.Interface

    def __init__(self, hw: HwConfig) -> None:
        self.hw = hw
        super().__init__({
            "i": In(stream.Signature(requantized(hw), always_ready=True)),
            "o": Out(stream.Signature(requantized(hw), always_ready=True)),
            "write": In(table_write()),
        })

    def elaborate(self, platform):
        m = Module()
        hw = self.hw
        passed, hidden = Signal(data.ArrayLayout(UPDATE.bits, hw.word)), Signal()
        kept = Signal(tag(hw))

        m.d.comb += self.o.p.tag.eq(kept)
        m.d.sync += [
            self.o.valid.eq(self.i.valid), kept.eq(self.i.p.tag),
            passed.eq(self.i.p.data.as_value()), hidden.eq(self.i.p.tag.dest == Dest.HIDDEN),
        ]
        for n in range(hw.word):
            table = BlockMemory(8, 2 * TABLE)
            m.submodules[f"table_{n}"] = table
            attach(m, self.write, table.write_port())
            read = table.read_port()
            m.d.comb += [
                read.addr.eq(Cat(self.i.p.data[n][: HIDDEN.bits], self.i.p.tag.bank)),
                self.o.p.data[n].eq(Mux(hidden, read.data, passed[n].as_signed())),
            ]

        return m
